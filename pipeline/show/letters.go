package show

import "strings"

// textWidth is about how wide a text is, if an average letter is so wide.
func textWidth(text string, letter float64) int {
	width := 0.0
	for _, r := range text {
		width += letter * float64(letters(r))
	}
	return int(width) + 1
}

// cut shortens a text to what there is room for.
func cut(text string, room int, letter float64) string {
	if textWidth(text, letter) <= room {
		return text
	}
	width := letter
	for i, r := range text {
		if width += letter * float64(letters(r)); int(width) >= room {
			return text[:i] + "…"
		}
	}
	return text
}

// letters is how many Latin letters a character is as wide as: those of East Asia and most pictures take two.
func letters(r rune) int {
	switch {
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0x1f300 && r <= 0x1faff,
		r >= 0x20000 && r <= 0x3fffd:
		return 2
	case r >= 0x300 && r <= 0x36f, r == 0x200d, r >= 0xfe00 && r <= 0xfe0f:
		return 0
	}
	return 1
}

// xmlText writes text into XML. Characters that XML cannot have become a mark for that.
func xmlText(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '"':
			b.WriteString("&quot;")
		case r == '\t', r == '\n', r == '\r':
			b.WriteByte(' ')
		case r < 0x20, r >= 0x7f && r < 0xa0, r >= 0xfffe && r <= 0xffff, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			b.WriteRune('\ufffd')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
