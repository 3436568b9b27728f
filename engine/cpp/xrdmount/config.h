// CONFIG.json: which server is mounted, and as whom.
//
//     server             root://HOST:PORT of the XRootD server (required)
//     export             the server's folder that is mounted, such as /eos (required)
//     keytab             sss key of this machine, mode 600; without it in a file of a name that the server tells
//     users              users.json, see users.h (required)
//     timeout_seconds    how long a request waits for a server that is away before it fails with EIO; 10
//     attribute_seconds  how long what the server said of a file may be told again to the same user; 1 (and after a
//                        folder was listed a millisecond more for each of its entries). As long a change that another
//                        machine made may go unseen, except by who opens the file: never there.
//
// Keys that are not among these are refused.
#pragma once

#include <chrono>
#include <string>

namespace xrdmount {

struct Config {
    std::string server;
    std::string exported;
    std::string keytab;
    std::string users;
    std::chrono::seconds timeout{10};
    std::chrono::seconds attributes{1};

    /// Throws Problem.
    static Config read(const std::string& file);
};

}  // namespace xrdmount
