package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func isInteger(kind protoreflect.Kind) bool {
	bits, _ := integerKind(kind)
	return bits != 0
}

func integerKind(kind protoreflect.Kind) (bits int, signed bool) {
	switch kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return 32, true
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return 64, true
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return 32, false
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return 64, false
	}
	return 0, false
}

// inRange tells whether decimal digits fit the kind.
func inRange(kind protoreflect.Kind, digits string) (fits bool, description string) {
	bits, signed := integerKind(kind)
	if signed {
		_, err := strconv.ParseInt(digits, 10, bits)
		lowest := int64(math.MinInt64) >> (64 - bits)
		return err == nil, fmt.Sprintf("must be from %d to %d", lowest, -(lowest + 1))
	}
	_, err := strconv.ParseUint(digits, 10, bits)
	return err == nil, fmt.Sprintf("must be from 0 to %d", uint64(math.MaxUint64)>>(64-bits))
}

// isCanonical tells whether there is no shorter and no other way to write the
// same number with decimal digits.
func isCanonical(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || digits[0] == '0' && text != "0" {
		return false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

// tooLarge stands for every integer with more digits than 64 bits can have.
var tooLarge = strings.Repeat("9", 21)

// wholeDigits writes a JSON number with digits only. A number with a fraction is
// not whole, but 1.0, 1e2 and 100e-2 are: JSON knows no type of integers.
func wholeDigits(number string) (digits string, whole bool) {
	if !strings.ContainsAny(number, ".eE") && number != "-0" {
		return number, true
	}
	mantissa, sign := strings.CutPrefix(number, "-")
	exponent := "0"
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		mantissa, exponent = mantissa[:i], mantissa[i+1:]
	}
	integer, fraction, _ := strings.Cut(mantissa, ".")
	integer, fraction = strings.TrimLeft(integer, "0"), strings.TrimRight(fraction, "0")
	if integer == "" && fraction == "" {
		return "0", true
	}
	shift, err := strconv.Atoi(exponent)
	point := len(integer) + shift // where it is once the exponent is gone
	switch {
	case err != nil && exponent[0] == '-':
		return "", false
	case err != nil || shift > 0 && point >= len(tooLarge):
		return tooLarge, len(fraction) <= shift || err != nil
	case shift < 0:
		if fraction != "" || point < 0 || strings.Trim(integer[point:], "0") != "" {
			return "", false
		}
		digits = integer[:point]
	default:
		if len(fraction) > shift {
			return "", false
		}
		digits = integer + fraction + strings.Repeat("0", shift-len(fraction))
	}
	if sign {
		digits = "-" + digits
	}
	return digits, true
}
