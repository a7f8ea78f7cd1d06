/* pjsua2 for a server of a thousand calls: what the library fixes when it is compiled. */

/* A call is two sockets (RTP, RTCP), two conference ports (stream, ring), one dialog, and a few transactions. */
#define PJSUA_MAX_CALLS 1024
#define PJSUA_MAX_ACC 64
#define PJSUA_MAX_CONF_PORTS 2200
#define PJSUA_MAX_PLAYERS 8
#define PJ_IOQUEUE_MAX_HANDLES 8192
#define PJSIP_MAX_TSX_COUNT (16 * 1024 - 1)
#define PJSIP_MAX_DIALOG_COUNT (8 * 1024 - 1)
#define PJSIP_MAX_TRANSPORTS 2048

/* A burst of a hundred INVITEs has to fit between two turns of the one SIP thread; so do long offers over TCP. */
#define PJSIP_UDP_SO_SNDBUF_SIZE (4 * 1024 * 1024)
#define PJSIP_UDP_SO_RCVBUF_SIZE (4 * 1024 * 1024)
#define PJSIP_MAX_PKT_LEN 16000

/* One speaker per call, so nothing is ever mixed: the gain control could only change what was said. */
#define PJMEDIA_CONF_USE_AGC 0
#define PJMEDIA_HAS_VIDEO 0

/* Which family is spoken follows from the address that is listened on. */
#define PJ_HAS_IPV6 1

/* Which address this machine has is asked in every call, under the library's lock: the kernel knows it at once, where
   the resolver, asked for this machine's name, may take seconds. */
#define PJ_GETHOSTIP_DISABLE_LOCAL_RESOLUTION 1

#define PJ_LOG_MAX_LEVEL 5
