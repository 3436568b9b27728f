#include "remote_file.h"

#include <XProtocol/XProtocol.hh>
#include <cerrno>

#include "failure.h"

namespace xrdmount {

using XrdCl::OpenFlags;
using XrdCl::XRootDStatus;

RemoteFile::RemoteFile(std::shared_ptr<Connection> connection, std::string path, bool writable, Create create,
                       mode_t mode)
    : connection_(std::move(connection)), writable_(writable), path_(std::move(path)) {
    auto flags = writable ? OpenFlags::Update : OpenFlags::Read;
    if (create == Create::exclusively) flags = OpenFlags::New | OpenFlags::Update;
    connection_->persist([&](uint16_t seconds) { return open(flags, mode, seconds, file_); });
    XrdCl::StatInfo* info = nullptr;
    if (!file_->Stat(false, info).IsOK() || info == nullptr) throw Failure{EIO};
    opened_ = Attributes::of(*info);
    delete info;
}

RemoteFile::~RemoteFile() {
    // Whatever it says, all that was written was acknowledged before.
    if (const auto status = file_->Close(); !status.IsOK()) return;
}

XRootDStatus RemoteFile::open(OpenFlags::Flags flags, mode_t mode, uint16_t seconds, Opened& file) {
    auto opened = std::make_shared<XrdCl::File>(false);
    // Off, for the repetition is ours; XrdCl would give up for good when the first try fails.
    opened->SetProperty("ReadRecovery", "false");
    opened->SetProperty("WriteRecovery", "false");
    const auto status = opened->Open(connection_->url(path_), flags, access_mode(mode), seconds);
    if (status.IsOK()) file = opened;
    return status;
}

XRootDStatus RemoteFile::open_again(const Opened& broken, uint16_t seconds) {
    const std::lock_guard lock(mutex_);
    if (file_ != broken) return {};  // somebody else did
    if (path_.empty()) throw Failure{ESTALE};
    Opened file;
    const auto status = open(writable_ ? OpenFlags::Update : OpenFlags::Read, 0, seconds, file);
    if (status.code == XrdCl::errErrorResponse && status.errNo == kXR_NotFound) throw Failure{ESTALE};
    if (!status.IsOK()) return status;
    XrdCl::StatInfo* info = nullptr;
    if (const auto told = file->Stat(false, info); !told.IsOK()) return told;
    const auto found = Attributes::of(*info);
    delete info;
    if (found.inode() != opened_.inode()) throw Failure{ESTALE};
    file_ = file;
    return {};
}

void RemoteFile::persist(const std::function<XRootDStatus(XrdCl::File&, uint16_t)>& request, int patience) {
    Opened broken;
    connection_->persist(
        [&](uint16_t seconds) {
            if (broken) {
                if (const auto status = open_again(broken, seconds); !status.IsOK()) return status;
                broken.reset();
            }
            Opened file;
            {
                const std::lock_guard lock(mutex_);
                file = file_;
            }
            const auto status = request(*file, seconds);
            const bool unknown = status.code == XrdCl::errErrorResponse && status.errNo == kXR_FileNotOpen;
            if (!status.IsOK() && (is_away(status) || unknown || status.code == XrdCl::errInvalidOp)) broken = file;
            // A server that was started anew, or XrdCl, does not know this handle: the next try opens it again.
            return broken ? XRootDStatus(XrdCl::stError, XrdCl::errStreamDisconnect) : status;
        },
        patience);
}

std::size_t RemoteFile::read(char* data, std::size_t size, uint64_t offset) {
    uint32_t count = 0;
    persist([&](XrdCl::File& file, uint16_t seconds) {
        return file.Read(offset, static_cast<uint32_t>(size), data, count, seconds);
    });
    return count;
}

void RemoteFile::write(const char* data, std::size_t size, uint64_t offset) {
    persist([&](XrdCl::File& file, uint16_t seconds) {
        return file.Write(offset, static_cast<uint32_t>(size), data, seconds);
    });
}

void RemoteFile::truncate(uint64_t size) {
    persist([&](XrdCl::File& file, uint16_t seconds) { return file.Truncate(size, seconds); });
}

void RemoteFile::sync() {
    persist([&](XrdCl::File& file, uint16_t seconds) { return file.Sync(seconds); }, PATIENCE);
}

Attributes RemoteFile::attributes() {
    std::unique_ptr<XrdCl::StatInfo> info;
    persist([&](XrdCl::File& file, uint16_t seconds) {
        XrdCl::StatInfo* answer = nullptr;
        const auto status = file.Stat(true, answer, seconds);
        info.reset(answer);
        return status;
    });
    return Attributes::of(*info);
}

std::string RemoteFile::key() { return path() + "?" + std::to_string(opened_.inode()); }

std::string RemoteFile::path() {
    const std::lock_guard lock(mutex_);
    return path_;
}

void RemoteFile::renamed(const std::string& from, const std::string& to) {
    const std::lock_guard lock(mutex_);
    if (path_ == from || path_.compare(0, from.size() + 1, from + "/") == 0) path_ = to + path_.substr(from.size());
}

void RemoteFile::unlinked(const std::string& path) {
    const std::lock_guard lock(mutex_);
    if (path_ == path) path_.clear();
}

XrdCl::Access::Mode access_mode(mode_t mode) {
    // The protocol's bits are those of POSIX.
    return static_cast<XrdCl::Access::Mode>(mode & 0777);
}

}  // namespace xrdmount
