#include "id_map.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string_view>

namespace ovfsd::launcher {
namespace {

/// The last one is no id.
constexpr uint64_t kIds = std::numeric_limits<uint32_t>::max();

/// All of `text` as a number; takes it off up to `delimiter`, that too.
std::optional<uint32_t> take_number(std::string_view& text, char delimiter) {
  const size_t end = text.find(delimiter);
  if (end == std::string_view::npos) return std::nullopt;
  uint32_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + end, number);
  if (error != std::errc() || rest != text.data() + end || end == 0) return std::nullopt;
  text.remove_prefix(end + 1);
  return number;
}

std::optional<IdRange> range_of(std::string_view text) {
  if (text.empty() || (text.front() >= '0' && text.front() <= '9')) return std::nullopt;
  const char delimiter = text.front();
  text.remove_prefix(1);
  const auto inside = take_number(text, delimiter);
  const auto outside = inside ? take_number(text, delimiter) : std::nullopt;
  const auto count = outside ? take_number(text, delimiter) : std::nullopt;
  if (!count || !text.empty() || *count == 0) return std::nullopt;
  if (uint64_t{*inside} + *count > kIds || uint64_t{*outside} + *count > kIds) return std::nullopt;
  return IdRange{*inside, *outside, *count};
}

bool has(uint32_t first, uint32_t count, uint32_t id) noexcept { return id >= first && id - first < count; }

}  // namespace

IdMap id_map_of(const std::vector<std::string>& written, const std::string& option) {
  IdMap map;
  for (const std::string& text : written) {
    const auto range = range_of(text);
    if (!range) {
      throw std::invalid_argument(option + ": expected :INSIDE:OUTSIDE:COUNT:, found \"" + text + "\"");
    }
    map.push_back(*range);
  }
  return map;
}

std::vector<std::string> numbers_of(const IdMap& map) {
  std::vector<std::string> numbers;
  for (const auto& [inside, outside, count] : map) {
    for (const uint32_t number : {inside, outside, count}) numbers.push_back(std::to_string(number));
  }
  return numbers;
}

std::string text_of(const IdMap& map) {
  std::string text;
  for (const auto& [inside, outside, count] : map) {
    text += (text.empty() ? "" : ",") + std::to_string(inside) + ":" + std::to_string(outside) + ":" +
            std::to_string(count);
  }
  return text.empty() ? "-" : text;
}

bool has_inside(const IdMap& map, uint32_t id) noexcept {
  return std::ranges::any_of(map, [id](const IdRange& range) { return has(range.inside, range.count, id); });
}

bool has_outside(const IdMap& map, uint32_t id) noexcept {
  return std::ranges::any_of(map, [id](const IdRange& range) { return has(range.outside, range.count, id); });
}

bool is_own(const IdMap& map, uint32_t own) noexcept {
  return map.size() == 1 && map[0].count == 1 && map[0].outside == own;
}

}  // namespace ovfsd::launcher
