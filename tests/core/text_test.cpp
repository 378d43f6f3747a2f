#include <levin/core/text.h>

#include <gtest/gtest.h>

namespace levin {
namespace {

TEST(Text, Utf8IsChecked) {
  EXPECT_TRUE(is_utf8("plain, caf\xc3\xa9, \xe2\x82\xac, \xf0\x9f\x98\x80"));
  for (const char* bad : {"\xe9", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\x80"}) {
    EXPECT_FALSE(is_utf8(bad)) << bad;
  }
}

TEST(Text, WidthIsInColumnsNotBytes) {
  EXPECT_EQ(display_width("abc"), 3U);
  EXPECT_EQ(display_width("caf\xc3\xa9"), 4U);
  EXPECT_EQ(display_width("e\xcc\x81"), 1U);                 // e and a combining accent
  EXPECT_EQ(display_width("\xe6\x97\xa5\xe6\x9c\xac"), 4U);  // two wide characters
  EXPECT_EQ(pad_to_width("\xc3\xa9", 3), "\xc3\xa9  ");
  EXPECT_EQ(pad_to_width("12", 4, true), "  12");
  EXPECT_EQ(pad_to_width("12345", 4), "12345");
}

TEST(Text, CutsWithoutBreakingACharacter) {
  EXPECT_EQ(fit_to_width("short", 10), "short");
  EXPECT_EQ(fit_to_width("a longer text", 8), "a lon...");
  EXPECT_EQ(fit_to_width("abcdef", 3), "abc");
  EXPECT_EQ(fit_to_width("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 3), "\xe6\x97\xa5");
  EXPECT_EQ(fit_to_width("abc", 0), "");
}

TEST(Text, WrapsAtWords) {
  EXPECT_EQ(wrap_text("one two three four", 9, 2), "one two\n  three\n  four");
  EXPECT_EQ(wrap_text("unbreakable", 4), "unbreakable");
  EXPECT_EQ(wrap_text("", 4), "");
}

}  // namespace
}  // namespace levin
