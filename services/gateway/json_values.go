package main

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// wrong notes that a value breaks a rule and reads on: the JSON itself is fine.
func (c *jsonCheck) wrong(rule, description string) bool {
	c.found.add(c.place(""), rule, description)
	return c.skip()
}

func (c *jsonCheck) message(of protoreflect.MessageDescriptor, bound map[protoreflect.Name]bool) bool {
	if c.next() != '{' {
		return c.wrong("message.type", "must be a JSON object")
	}
	fields := of.Fields()
	seen := make([]bool, fields.Len())
	return c.members(func(key string) bool {
		field := fields.ByJSONName(key)
		meant := field
		if field == nil {
			meant = fields.ByName(protoreflect.Name(key))
		}
		switch {
		case meant == nil:
			c.found.add(c.place(key), "json.unknown_field", "there is no such field")
			return c.skip()
		case bound[meant.Name()]:
			c.found.add(c.place(key), "json.unknown_field", "there is no such field in the body: the path holds it")
			return c.skip()
		case field == nil: // the spelling of the .proto
			c.found.add(c.place(key), "json.unknown_field", "there is no such field: in JSON its name is "+meant.JSONName())
			return c.skip()
		case seen[field.Index()]:
			c.found.add(c.place(string(field.Name())), "json.duplicate_key", "must not be given twice")
			return c.skip()
		}
		seen[field.Index()] = true
		return c.within(step{name: string(field.Name())}, func() bool { return c.field(field) })
	})
}

func (c *jsonCheck) field(field protoreflect.FieldDescriptor) bool {
	switch {
	case c.next() == 'n': // null is the same as leaving the field out
		return c.literal("null")
	case field.IsMap():
		return c.entries(field)
	case !field.IsList():
		return c.value(field)
	case c.next() != '[':
		return c.wrong("repeated.type", "must be a JSON array")
	}
	return c.elements(func(index int) bool {
		return c.within(step{index: index}, func() bool { return c.value(field) })
	})
}

// entries leaves the keys that are no strings in the message to protojson.
func (c *jsonCheck) entries(field protoreflect.FieldDescriptor) bool {
	if c.next() != '{' {
		return c.wrong("map.type", "must be a JSON object")
	}
	seen := map[string]bool{}
	return c.members(func(key string) bool {
		return c.within(step{name: "[" + strconv.Quote(key) + "]"}, func() bool {
			if seen[key] {
				return c.wrong("json.duplicate_key", "must not be given twice")
			}
			seen[key] = true
			return c.value(field.MapValue())
		})
	})
}

// value checks a value that is not a list and, here, cannot be left out.
func (c *jsonCheck) value(field protoreflect.FieldDescriptor) bool {
	b := c.next()
	switch kind := field.Kind(); {
	case field.Message() != nil && wellKnown(field.Message()):
		return c.skip()
	case b == 'n':
		return c.wrong("json.null", "must not be null")
	case field.Message() != nil:
		return c.message(field.Message(), nil)
	case isInteger(kind):
		return c.integer(kind)
	case kind == protoreflect.StringKind && b != '"':
		return c.wrong("string.type", "must be a string")
	case kind == protoreflect.BoolKind && b != 't' && b != 'f':
		return c.wrong("bool.type", "must be true or false")
	}
	return c.skip()
}

// wellKnown tells the types whose JSON is not that of their fields.
func wellKnown(message protoreflect.MessageDescriptor) bool {
	return strings.HasPrefix(string(message.FullName()), "google.protobuf.")
}

// integer takes any JSON number that is an integer and, since JSON numbers lose
// digits in many languages, canonical strings for 64 bits: as protojson writes
// them and not the many more that it reads.
func (c *jsonCheck) integer(kind protoreflect.Kind) bool {
	bits, _ := integerKind(kind)
	digits, isNumber, ok := c.digits(bits)
	if !ok {
		return false
	}
	if !isNumber {
		description := "must be an integer, written as a JSON number"
		if bits == 64 {
			description = "must be an integer, written as a JSON number or as a string of its decimal digits"
		}
		c.found.add(c.place(""), kind.String()+".type", description)
	} else if fits, description := inRange(kind, digits); !fits {
		c.found.add(c.place(""), kind.String()+".range", description)
	}
	return true
}

// digits takes a value of any kind: it gives its digits if it is an integer, whether it is one, and whether the text goes on.
func (c *jsonCheck) digits(bits int) (digits string, isNumber, ok bool) {
	b := c.next()
	if b == '-' || '0' <= b && b <= '9' {
		if digits, ok = c.number(); !ok {
			return "", false, false
		}
		digits, isNumber = wholeDigits(digits)
		return digits, isNumber, true
	}
	if b == '"' && bits == 64 {
		digits, ok = c.str()
		return digits, isCanonical(digits), ok
	}
	return "", false, c.skip()
}
