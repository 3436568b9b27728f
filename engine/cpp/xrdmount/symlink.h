// Symbolic links over a protocol that has none, by the convention of CIFS clients ("mfsymlinks", Minshall and French):
// a regular file of exactly 1067 bytes, which are "XSym", the length and the MD5 sum of the target, the target, and
// blanks. Any client that knows the convention sees a link, all others see that file.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace xrdmount::symlink {

constexpr std::size_t FILE_SIZE = 1067;
constexpr std::size_t LONGEST = 1024;

/// The file's content. Throws Failure ENAMETOOLONG.
std::string encode(const std::string& target);

/// The target, when the content is that of a link.
std::optional<std::string> decode(const std::string& content);

}  // namespace xrdmount::symlink
