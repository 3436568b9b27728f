#include "service.h"

#include <dirent.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "failure.h"

namespace xrdmount::service {

void notify(const std::string& lines) {
    const char* place = std::getenv("NOTIFY_SOCKET");
    if (place == nullptr) return;
    sockaddr_un address{};
    const auto length = std::strlen(place);
    if (length == 0 || length >= sizeof(address.sun_path)) return;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, place, length);
    if (place[0] == '@') address.sun_path[0] = '\0';
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
    const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sendto(socket, lines.data(), lines.size(), 0, reinterpret_cast<const sockaddr*>(&address), size) < 0)
        std::fprintf(stderr, "%s: %s\n", place, std::strerror(errno));
    close(socket);
}

std::string free_mountpoint(const std::string& place) {
    const auto unusable = [&](const std::string& why) {
        return Problem("it cannot be mounted there", place, why,
                       "name a folder that exists and where nothing is mounted");
    };
    // What a killed one left can be named, but not looked at: so it is its parent that is resolved.
    std::error_code error;
    auto absolute = std::filesystem::absolute(place).lexically_normal();
    if (!absolute.has_filename()) absolute = absolute.parent_path();
    const auto located = (std::filesystem::canonical(absolute.parent_path(), error) / absolute.filename()).string();
    if (error) throw unusable(error.message());
    while (true) {
        if (DIR* folder = opendir(located.c_str()); folder != nullptr) {
            closedir(folder);
            break;
        }
        if (errno != ENOTCONN && errno != ECONNABORTED) throw unusable(std::strerror(errno));
        std::fprintf(stderr, "%s: what a killed one left is unmounted\n", located.c_str());
        if (umount2(located.c_str(), MNT_DETACH) != 0) throw unusable(std::strerror(errno));
    }
    std::ifstream mounts("/proc/self/mounts");
    for (std::string source, target, type, rest; mounts >> source >> target >> type && std::getline(mounts, rest);)
        if (target == located && type == "fuse.xrdmount") throw unusable("xrdmount is mounted there already");
    return located;
}

}  // namespace xrdmount::service
