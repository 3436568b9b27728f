#include "symlink.h"

#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "failure.h"

namespace xrdmount::symlink {

namespace {

constexpr std::size_t LENGTH_AT = 5;         // after "XSym\n"
constexpr std::size_t TARGET_AT = 5 + 5 + 33;  // after "0004\n" and the sum with its newline

std::string md5(const std::string& text) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_md5(), nullptr);
    std::string hex;
    for (unsigned at = 0; at < size; ++at) {
        std::array<char, 3> two{};
        std::snprintf(two.data(), two.size(), "%02x", digest[at]);
        hex += two.data();
    }
    return hex;
}

}  // namespace

std::string encode(const std::string& target) {
    if (target.size() > LONGEST) throw Failure{ENAMETOOLONG};
    std::array<char, 6> length{};
    std::snprintf(length.data(), length.size(), "%04zu\n", target.size());
    std::string content = "XSym\n" + std::string(length.data()) + md5(target) + "\n" + target;
    if (content.size() < FILE_SIZE) content += '\n';
    content.resize(FILE_SIZE, ' ');
    return content;
}

std::optional<std::string> decode(const std::string& content) {
    if (content.size() != FILE_SIZE || content.compare(0, LENGTH_AT, "XSym\n") != 0) return std::nullopt;
    const auto length = std::strtoul(content.substr(LENGTH_AT, 4).c_str(), nullptr, 10);
    if (length == 0 || length > LONGEST) return std::nullopt;
    auto target = content.substr(TARGET_AT, length);
    if (encode(target).compare(0, TARGET_AT, content, 0, TARGET_AT) != 0) return std::nullopt;
    return target;
}

}  // namespace xrdmount::symlink
