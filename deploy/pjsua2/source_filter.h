/* SourceFilter: requests from strangers end here, before a transaction, a call or a line of Python is spent on them.
 *
 *     pjsua2.SourceFilter.admit(["192.0.2.0/24", "2001:db8::7/128"], False)
 *         From now on only these may begin something. With True, so may whoever connects over TLS: for a transport that
 *         asks for client certificates. Call it after libInit, and again whenever the list changes.
 *     pjsua2.SourceFilter.refused() -> [(address, requests), ...]
 *         What was refused since the last time, by source; `other` is all that were too many to list.
 *
 * What belongs to a dialog already (a To tag) passes: who does not know its tags is refused by the dialogs. A stranger's
 * INVITE is told 403, without state, up to 500 times a second over all strangers; all else of his gets no answer at all.
 */
#ifndef SIDETONE_SOURCE_FILTER_H
#define SIDETONE_SOURCE_FILTER_H

#include <cstring>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <pjsip.h>
#include <pjsua-lib/pjsua.h>

namespace sidetone {

const size_t LISTED_SOURCES = 256;
const unsigned ANSWERS_PER_SECOND = 500;

/* An address of either family as IPv6; IPv4 is mapped (RFC 4291, section 2.5.5.2). */
struct Address {
    unsigned char bytes[16];

    bool read(const pj_sockaddr &from) {
        if (from.addr.sa_family == pj_AF_INET6()) {
            std::memcpy(bytes, &from.ipv6.sin6_addr, 16);
            return true;
        }
        if (from.addr.sa_family != pj_AF_INET())
            return false;
        std::memset(bytes, 0, 10);
        std::memset(bytes + 10, 0xff, 2);
        std::memcpy(bytes + 12, &from.ipv4.sin_addr, 4);
        return true;
    }
};

struct Network {
    Address address;
    unsigned bits;

    bool holds(const Address &other) const {
        const unsigned whole = bits / 8, rest = bits % 8;
        if (std::memcmp(address.bytes, other.bytes, whole) != 0)
            return false;
        return rest == 0 || ((address.bytes[whole] ^ other.bytes[whole]) >> (8 - rest)) == 0;
    }
};

/* `192.0.2.0/24`; throws std::invalid_argument. */
inline Network network_of(const std::string &text) {
    const size_t slash = text.find('/');
    const std::string host = text.substr(0, slash);
    const bool six = host.find(':') != std::string::npos;
    pj_str_t name = pj_str(const_cast<char *>(host.c_str()));
    pj_sockaddr parsed;
    Network network;
    if (slash == std::string::npos || pj_sockaddr_init(six ? pj_AF_INET6() : pj_AF_INET(), &parsed, NULL, 0) != 0 ||
        pj_inet_pton(six ? pj_AF_INET6() : pj_AF_INET(), &name, pj_sockaddr_get_addr(&parsed)) != 0 ||
        !network.address.read(parsed))
        throw std::invalid_argument("not a network: " + text);
    char *end = NULL;
    network.bits = static_cast<unsigned>(std::strtoul(text.c_str() + slash + 1, &end, 10));
    if (end == text.c_str() + slash + 1 || *end || network.bits > (six ? 128u : 32u))
        throw std::invalid_argument("not a network: " + text);
    network.bits += six ? 0 : 96;
    return network;
}

class Gate {
public:
    static Gate &the() {
        static Gate gate;
        return gate;
    }

    void admit(const std::vector<Network> &networks, bool certified) {
        pjsip_endpoint *endpoint = pjsua_get_pjsip_endpt();
        if (!endpoint)
            PJSUA2_RAISE_ERROR2(PJ_EINVALIDOP, "SourceFilter before libInit");
        {
            std::lock_guard<std::mutex> guard(mutex_);
            networks_ = networks;
            certified_ = certified;
        }
        if (endpoint != endpoint_) { /* a library that was started anew knows no modules */
            module_.prev = module_.next = NULL;
            module_.id = -1;
            PJSUA2_CHECK_EXPR(pjsip_endpt_register_module(endpoint, &module_));
            endpoint_ = endpoint;
        }
    }

    std::map<std::string, unsigned long> refused() {
        std::map<std::string, unsigned long> taken;
        std::lock_guard<std::mutex> guard(mutex_);
        taken.swap(refused_);
        return taken;
    }

private:
    Gate() : endpoint_(NULL), certified_(false), second_(0), answers_(0) {
        std::memset(&module_, 0, sizeof(module_));
        module_.name = pj_str(const_cast<char *>("mod-source-filter"));
        module_.id = -1;
        module_.priority = PJSIP_MOD_PRIORITY_TSX_LAYER - 1;
        module_.on_rx_request = &on_request;
    }

    static pj_bool_t on_request(pjsip_rx_data *rdata) { return the().stop(rdata) ? PJ_TRUE : PJ_FALSE; }

    /* Whether the request ends here. Runs on the library's one SIP thread. */
    bool stop(pjsip_rx_data *rdata) {
        if (rdata->msg_info.to && rdata->msg_info.to->tag.slen)
            return false;
        bool answer = false;
        {
            std::lock_guard<std::mutex> guard(mutex_);
            if (certified_ && PJSIP_TRANSPORT_IS_SECURE(rdata->tp_info.transport))
                return false;
            Address source;
            if (source.read(rdata->pkt_info.src_addr))
                for (const Network &network : networks_)
                    if (network.holds(source))
                        return false;
            note(rdata->pkt_info.src_name);
            answer = rdata->msg_info.msg->line.req.method.id == PJSIP_INVITE_METHOD && may_answer();
        }
        if (answer)
            pjsip_endpt_respond_stateless(pjsua_get_pjsip_endpt(), rdata, PJSIP_SC_FORBIDDEN, NULL, NULL, NULL);
        return true;
    }

    void note(const char *source) {
        std::map<std::string, unsigned long>::iterator known = refused_.find(source);
        if (known != refused_.end())
            ++known->second;
        else
            ++refused_[refused_.size() < LISTED_SOURCES ? source : "other"];
    }

    bool may_answer() {
        pj_time_val now;
        pj_gettickcount(&now);
        if (now.sec != second_) {
            second_ = now.sec;
            answers_ = 0;
        }
        return ++answers_ <= ANSWERS_PER_SECOND;
    }

    pjsip_module module_;
    pjsip_endpoint *endpoint_;
    std::mutex mutex_;
    std::vector<Network> networks_;
    bool certified_;
    std::map<std::string, unsigned long> refused_;
    long second_;
    unsigned answers_;
};

} /* namespace sidetone */

namespace pj {

class SourceFilter {
public:
    static void admit(const std::vector<std::string> &networks, bool certified) {
        std::vector<sidetone::Network> parsed;
        for (const std::string &network : networks)
            parsed.push_back(sidetone::network_of(network));
        sidetone::Gate::the().admit(parsed, certified);
    }
};

} /* namespace pj */

#endif
