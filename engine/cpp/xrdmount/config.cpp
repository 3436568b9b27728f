#include "config.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "failure.h"

namespace xrdmount {

namespace {

using Json = nlohmann::json;

std::string text(const Json& value) {
    auto result = value.get<std::string>();
    if (result.empty()) throw std::invalid_argument("it is empty");
    return result;
}

std::chrono::seconds seconds(const Json& value, int least) {
    if (!value.is_number_integer() || value.get<int>() < least || value.get<int>() > 3600)
        throw std::invalid_argument("it is no whole number from " + std::to_string(least) + " to 3600");
    return std::chrono::seconds(value.get<int>());
}

}  // namespace

Config Config::read(const std::string& file) {
    const auto refused = [&](const std::string& where, const std::string& why) {
        return Problem("the configuration cannot be used", where, why, "edit " + file);
    };
    Config config;
    std::ifstream stream(file);
    if (!stream) throw refused(file, "it cannot be opened");
    Json json;
    try {
        json = Json::parse(stream);
    } catch (const Json::exception& error) {
        throw refused(file, error.what());
    }
    if (!json.is_object()) throw refused(file, "it is no JSON object");
    for (const auto& [key, value] : json.items()) {
        try {
            if (key == "server") config.server = text(value);
            else if (key == "export") config.exported = text(value);
            else if (key == "keytab") config.keytab = text(value);
            else if (key == "users") config.users = text(value);
            else if (key == "timeout_seconds") config.timeout = seconds(value, 1);
            else if (key == "attribute_seconds") config.attributes = seconds(value, 0);
            else throw std::invalid_argument("there is no such key");
        } catch (const std::exception& error) {
            throw refused(file + ": " + key, error.what());
        }
    }
    for (const auto& [key, value] : {std::pair{"server", config.server}, {"export", config.exported},
                                     {"users", config.users}})
        if (value.empty()) throw refused(file + ": " + key, "it is missing");
    if (config.server.rfind("root://", 0) != 0) throw refused(file + ": server", "it does not begin with root://");
    if (config.exported.front() != '/' || (config.exported.size() > 1 && config.exported.back() == '/'))
        throw refused(file + ": export", "it has to begin with / and not to end with /");
    return config;
}

}  // namespace xrdmount
