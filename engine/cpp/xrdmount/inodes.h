// The numbers by which the kernel knows files, and what it has open.
//
// A number stands for one file under one name. When another machine puts another file there, that one gets another
// number: what the kernel has kept of the old file is not shown for the new one. A file that loses its name while it is
// open keeps its number, and is reached by its handle.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "attributes.h"
#include "remote_file.h"

namespace xrdmount {

class Inodes {
  public:
    using Number = uint64_t;
    static constexpr Number ROOT = 1;

    explicit Inodes(std::string root);

    /// The path on the server. Throws Failure ESTALE when the file has none any more.
    std::string path(Number number) const;

    /// The number of what is at a path, which the kernel is now told.
    Number told(const std::string& path, const Attributes& attributes);

    /// Whether the number stands for this file, and not for another that had its name before.
    bool stands_for(Number number, const Attributes& attributes) const;

    /// The kernel forgets that it was told so many times.
    void forget(Number number, uint64_t times);

    /// What open files and numbers have to know of changes of names.
    void renamed(const std::string& from, const std::string& to);
    void unlinked(const std::string& path);

    /// Keeps an open file; gives its handle.
    uint64_t keep(Number number, std::unique_ptr<RemoteFile> file);
    std::shared_ptr<RemoteFile> opened(uint64_t handle) const;
    void close(uint64_t handle);

    /// Some handle of a file that is open, or null.
    std::shared_ptr<RemoteFile> any(Number number) const;

  private:
    struct Node {
        std::string path;  // empty: it has none any more
        uint32_t on_disk = 0;
        uint64_t told = 0;
    };
    struct Open {
        Number number;
        std::shared_ptr<RemoteFile> file;
    };

    void detach(const std::string& path);

    mutable std::mutex mutex_;
    std::unordered_map<Number, Node> nodes_;
    std::unordered_map<std::string, Number> numbers_;
    std::map<uint64_t, Open> open_;
    Number next_ = ROOT + 1;
    uint64_t next_handle_ = 1;
};

}  // namespace xrdmount
