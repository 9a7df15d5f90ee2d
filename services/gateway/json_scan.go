package main

import (
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth of a body: far more than messages need, far less than a stack holds.
const maxDepth = 100

// The methods here know JSON (RFC 8259) and nothing of messages. One that
// returns false has noted why the text is not JSON, and then all is over.

func (c *jsonCheck) fail(rule, format string, args ...any) bool {
	c.found.add(c.place(""), rule, fmt.Sprintf(format, args...))
	return false
}

func (c *jsonCheck) unexpected() bool {
	if c.at >= len(c.text) {
		return c.fail("json.syntax", "the JSON ends too early")
	}
	return c.fail("json.syntax", "the JSON has an unexpected %q at byte %d", c.text[c.at], c.at)
}

// next skips spaces and gives the byte behind them, 0 at the end.
func (c *jsonCheck) next() byte {
	for ; c.at < len(c.text); c.at++ {
		switch b := c.text[c.at]; b {
		case ' ', '\t', '\r', '\n':
		default:
			return b
		}
	}
	return 0
}

// take takes a byte that there must be.
func (c *jsonCheck) take(b byte) bool {
	if c.next() != b {
		return c.unexpected()
	}
	c.at++
	return true
}

func (c *jsonCheck) literal(word string) bool {
	if len(c.text)-c.at < len(word) || string(c.text[c.at:c.at+len(word)]) != word {
		return c.unexpected()
	}
	c.at += len(word)
	return true
}

func (c *jsonCheck) number() (string, bool) {
	start := c.at
	digits := func() bool {
		first := c.at
		for c.at < len(c.text) && '0' <= c.text[c.at] && c.text[c.at] <= '9' {
			c.at++
		}
		return c.at > first
	}
	is := func(either, or byte) bool {
		return c.at < len(c.text) && (c.text[c.at] == either || c.text[c.at] == or)
	}
	if is('-', '-') {
		c.at++
	}
	if is('0', '0') {
		c.at++
	} else if !digits() {
		return "", c.unexpected()
	}
	if is('.', '.') {
		c.at++
		if !digits() {
			return "", c.unexpected()
		}
	}
	if is('e', 'E') {
		c.at++
		if is('+', '-') {
			c.at++
		}
		if !digits() {
			return "", c.unexpected()
		}
	}
	return string(c.text[start:c.at]), true
}

// str gives a string without its quotes and escapes.
func (c *jsonCheck) str() (string, bool) {
	if !c.take('"') {
		return "", false
	}
	var out []byte // with the escapes undone, if there are any
	start := c.at
	for c.at < len(c.text) {
		switch b := c.text[c.at]; {
		case b == '"':
			out = append(out, c.text[start:c.at]...)
			c.at++
			return string(out), true
		case b < ' ':
			return "", c.unexpected()
		case b == '\\':
			out = append(out, c.text[start:c.at]...)
			r, ok := c.escape()
			if !ok {
				return "", false
			}
			out, start = utf8.AppendRune(out, r), c.at
		case b < utf8.RuneSelf:
			c.at++
		default:
			r, size := utf8.DecodeRune(c.text[c.at:])
			if r == utf8.RuneError && size == 1 {
				return "", c.fail("json.utf8", "the JSON is not UTF-8 at byte %d", c.at)
			}
			c.at += size
		}
	}
	return "", c.unexpected()
}

func (c *jsonCheck) escape() (rune, bool) {
	const plain, meaning = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if c.at+1 < len(c.text) && c.text[c.at+1] != 'u' {
		for i := range len(plain) {
			if plain[i] == c.text[c.at+1] {
				c.at += 2
				return rune(meaning[i]), true
			}
		}
	}
	first, ok := c.unit()
	if !ok {
		return 0, c.unexpected()
	}
	c.at += 6
	if !utf16.IsSurrogate(first) {
		return first, true
	}
	second, _ := c.unit()
	r := utf16.DecodeRune(first, second)
	if r == utf8.RuneError {
		return 0, c.fail("json.surrogate", "the JSON has half of a surrogate pair before byte %d", c.at)
	}
	c.at += 6
	return r, true
}

// unit reads \uXXXX and stays where it is.
func (c *jsonCheck) unit() (rune, bool) {
	if len(c.text)-c.at < 6 || c.text[c.at] != '\\' || c.text[c.at+1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(c.text[c.at+2:c.at+6]), 16, 16)
	return rune(n), err == nil
}
