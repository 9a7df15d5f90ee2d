package main

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// checkJSON notes what a body must not be, though protojson would take it, and
// names the fields. What it lets pass goes to protojson, which has the last word
// on enums, floats, bytes and the well-known types.
func checkJSON(text []byte, of protoreflect.MessageDescriptor, bound map[protoreflect.Name]bool, found *violations) {
	c := &jsonCheck{text: text, found: found}
	if c.next() == 0 && c.at == len(text) {
		c.fail("json.empty", "the body must not be empty")
		return
	}
	if c.message(of, bound) && (c.next() != 0 || c.at < len(text)) {
		c.fail("json.trailing_data", "unexpected text after the JSON value, at byte %d", c.at)
	}
}

type jsonCheck struct {
	text  []byte
	at    int
	depth int
	path  []step
	found *violations
}

// step leads to a field of a message, to an entry of a map if its name is in
// brackets or, without a name, to an element of a list.
type step struct {
	name  string
	index int
}

// place writes where the check is, as in items[0].sku, and then the name of a
// field there if it has one.
func (c *jsonCheck) place(name string) string {
	var out strings.Builder
	write := func(name string) {
		if name != "" && name[0] != '[' && out.Len() > 0 {
			out.WriteByte('.')
		}
		out.WriteString(name)
	}
	for _, s := range c.path {
		if s.name == "" {
			out.WriteString("[" + strconv.Itoa(s.index) + "]")
		}
		write(s.name)
	}
	write(name)
	return out.String()
}

// within does a check one step further down.
func (c *jsonCheck) within(s step, check func() bool) bool {
	c.path = append(c.path, s)
	ok := check()
	c.path = c.path[:len(c.path)-1]
	return ok
}

// deeper does a check inside of an object or a list, and bounds the recursion.
func (c *jsonCheck) deeper(check func() bool) bool {
	if c.depth == maxDepth {
		return c.fail("json.depth", "the JSON is nested more than %d deep", maxDepth)
	}
	c.depth++
	ok := check()
	c.depth--
	return ok
}

// members calls member for each key of an object, which is to read the value.
func (c *jsonCheck) members(member func(key string) bool) bool {
	return c.deeper(func() bool {
		c.at++ // {
		if c.next() == '}' {
			c.at++
			return true
		}
		for {
			c.next()
			key, ok := c.str()
			if !ok || !c.take(':') || !member(key) {
				return false
			}
			if c.next() != ',' {
				return c.take('}')
			}
			c.at++
		}
	})
}

// elements calls element for each index of a list, which is to read the value.
func (c *jsonCheck) elements(element func(index int) bool) bool {
	return c.deeper(func() bool {
		c.at++ // [
		if c.next() == ']' {
			c.at++
			return true
		}
		for index := 0; ; index++ {
			if !element(index) {
				return false
			}
			if c.next() != ',' {
				return c.take(']')
			}
			c.at++
		}
	})
}

// skip reads any value.
func (c *jsonCheck) skip() bool {
	switch b := c.next(); {
	case b == '{':
		return c.members(func(string) bool { return c.skip() })
	case b == '[':
		return c.elements(func(int) bool { return c.skip() })
	case b == '"':
		_, ok := c.str()
		return ok
	case b == 't':
		return c.literal("true")
	case b == 'f':
		return c.literal("false")
	case b == 'n':
		return c.literal("null")
	case b == '-' || '0' <= b && b <= '9':
		_, ok := c.number()
		return ok
	}
	return c.unexpected()
}
