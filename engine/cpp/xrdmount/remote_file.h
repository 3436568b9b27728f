// An open file, which stays open for its program when the server goes and comes back.
//
// Everything is written through: what was acknowledged to the program, the server has acknowledged. Requests name their
// place in the file, so one whose answer was lost is simply made again, on the same file opened anew. A file that is
// not there any more by then, or is another one, gives ESTALE: nothing is written into a stranger.
#pragma once

#include <sys/types.h>

#include <XrdCl/XrdClFile.hh>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "attributes.h"
#include "server.h"

namespace xrdmount {

class RemoteFile {
  public:
    enum class Create { no, exclusively };

    /// Opens, or creates with these permissions. Throws Failure.
    RemoteFile(std::shared_ptr<Connection> connection, std::string path, bool writable, Create create, mode_t mode);
    ~RemoteFile();
    RemoteFile(const RemoteFile&) = delete;
    RemoteFile& operator=(const RemoteFile&) = delete;

    /// All throw Failure.
    std::size_t read(char* data, std::size_t size, uint64_t offset);
    void write(const char* data, std::size_t size, uint64_t offset);
    void truncate(uint64_t size);
    void sync();
    Attributes attributes();

    /// What the server said when it was opened.
    const Attributes& opened() const { return opened_; }

    /// Whose right it was opened with.
    const std::string& user() const { return connection_->user(); }

    /// What its attributes are remembered by. They are not those of its name, which may be another file's by now.
    std::string key();

    /// Its name now; empty when it has none any more.
    std::string path();

    /// Its name changed, or went.
    void renamed(const std::string& from, const std::string& to);
    void unlinked(const std::string& path);

  private:
    using Opened = std::shared_ptr<XrdCl::File>;

    XrdCl::XRootDStatus open(XrdCl::OpenFlags::Flags flags, mode_t mode, uint16_t seconds, Opened& file);
    void persist(const std::function<XrdCl::XRootDStatus(XrdCl::File&, uint16_t)>& request, int patience = 1);
    XrdCl::XRootDStatus open_again(const Opened& broken, uint16_t seconds);

    const std::shared_ptr<Connection> connection_;
    const bool writable_;
    std::mutex mutex_;  // of the three below
    std::string path_;  // empty: it has no name any more
    Opened file_;
    bool broken_ = false;
    Attributes opened_;
};

/// Permissions as XrdCl wants them. The protocol has nine of them, and the server never lets others write.
XrdCl::Access::Mode access_mode(mode_t mode);

}  // namespace xrdmount
