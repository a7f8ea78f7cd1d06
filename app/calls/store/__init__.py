"""Where calls outlive their process: journals, who owns which call, and the little that processes tell each other."""
