// xrdmount: the files of an XRootD server as a file system, for all users of a machine.
//
//     xrdmount CONFIG.json MOUNTPOINT   serves until SIGTERM or SIGINT, in the foreground; config.h describes the file
//     xrdmount --version
//
// Each user of the machine is a user of the server: users.h says how his uid becomes his name, server.h how the server
// knows him. Ends with 0, with 1 after an error, with 2 when it was called wrongly. Why something went wrong stands on
// standard error. When it was killed, its mount point answers ENOTCONN until the next start, which cleans it.

#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <iostream>

#include "failure.h"
#include "filesystem.h"
#include "service.h"

namespace {

using namespace xrdmount;

/// Asks the server for what is to be mounted, in the name of root: is it there, does it know the key?
void ask(Shared& shared) {
    try {
        Tree(shared, 0).attributes(shared.config.exported);
    } catch (const Failure& failure) {
        const auto& config = shared.config;
        if (failure.number == EACCES)
            throw Problem("the server refuses this machine", config.server + config.exported,
                          "either it has another key, or who has uid 0 in " + config.users + " has no right there",
                          "compare " + (config.keytab.empty() ? "the key that it names" : config.keytab) +
                              " with the server's, and the names with its access list");
        throw Problem("the server does not give what is to be mounted", config.server + config.exported,
                      std::strerror(failure.number == NO_NUMBER ? EIO : failure.number),
                      "see whether the server runs, can be reached from here, and exports that folder");
    }
}

int run(const std::string& file, const std::string& mountpoint) {
    try {
        const auto config = Config::read(file);
        if (!config.keytab.empty() && access(config.keytab.c_str(), R_OK) != 0)
            throw Problem("there is no key", config.keytab, std::strerror(errno), "bring the machine's key there");
        Users users(config.users);
        Server server(config);
        AttributeCache cache(config.attributes);
        Inodes inodes(config.exported);
        Shared shared{config, server, users, cache, inodes};
        const auto place = service::free_mountpoint(mountpoint);
        ask(shared);
        serve(shared, place, [] { service::notify("READY=1\nSTATUS=mounted"); });
        service::notify("STOPPING=1");
        return 0;
    } catch (const Problem& problem) {
        std::cerr << problem.what() << std::endl;
        service::notify(std::string("STATUS=") + problem.what());
        return 1;
    }
}

}  // namespace

int main(int count, char** words) {
    if (count == 2 && std::strcmp(words[1], "--version") == 0) {
        std::cout << "xrdmount " VERSION << std::endl;
        return 0;
    }
    if (count != 3) {
        std::cerr << "usage: xrdmount CONFIG.json MOUNTPOINT\n       xrdmount --version" << std::endl;
        return 2;
    }
    // XrdCl's threads outlive what they use when the process ends in the usual way.
    _exit(run(words[1], words[2]));
}
