package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

const (
	// MaxOutputs is how many bytes the outputs of a task may have, as a step writes them and as JSON.
	MaxOutputs = 256 << 10
	// maxOutputDepth is how deep an output of the type json may be nested: Postgres reads it by recursion.
	maxOutputDepth = 64
	// maxOutputInteger is up to where every reader of JSON knows all integers.
	maxOutputInteger = 1<<53 - 1
)

// The types of outputs.
const (
	OutputString  = "string"
	OutputBoolean = "boolean"
	OutputInteger = "integer"
	OutputNumber  = "number"
	OutputJSON    = "json"
)

// CheckOutputs says what is wrong with the outputs of a task, if anything is; declared is the type of each by its name.
func CheckOutputs(declared map[string]string, outputs map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		if err := CheckOutput(declared, name, outputs[name]); err != nil {
			return err
		}
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(outputs); err != nil {
		return err
	}
	if body.Len() > MaxOutputs {
		return fmt.Errorf("the outputs are larger than %d KiB: put large results into a file", MaxOutputs>>10)
	}
	return nil
}

// CheckOutput says what is wrong with one output: a value as encoding/json reads it into an any.
func CheckOutput(declared map[string]string, name string, value any) error {
	kind, ok := declared[name]
	if !ok {
		return undeclared(declared, name)
	}
	fits := true
	switch kind {
	case OutputString:
		_, fits = value.(string)
	case OutputBoolean:
		_, fits = value.(bool)
	case OutputInteger:
		n, isNumber := value.(float64)
		if fits = isNumber && n == math.Trunc(n); fits && math.Abs(n) > maxOutputInteger {
			return fmt.Errorf("the output %s is beyond ±(2^53-1): declare it as a string", name)
		}
	case OutputNumber:
		_, fits = value.(float64)
	case OutputJSON:
	default:
		return fmt.Errorf("the output %s is declared as %s, a type that is not known here", name, kind)
	}
	if !fits {
		return fmt.Errorf("the output %s is %s, and is declared as %s", name, kindOf(value), kind)
	}
	if err := storable(value, 0); err != nil {
		return fmt.Errorf("the output %s %w", name, err)
	}
	return nil
}

func undeclared(declared map[string]string, name string) error {
	if len(declared) == 0 {
		return fmt.Errorf("the output %.100q is not declared: the task declares no outputs", name)
	}
	return fmt.Errorf("the output %.100q is not declared: the task declares %s", name, strings.Join(slices.Sorted(maps.Keys(declared)), ", "))
}

// kindOf names what a value is.
func kindOf(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case float64:
		if v == math.Trunc(v) {
			return "an integer"
		}
		return "a number"
	case []any:
		return "a list"
	}
	return "an object"
}

// storable says what Postgres would not keep.
func storable(value any, depth int) error {
	if depth > maxOutputDepth {
		return fmt.Errorf("is nested deeper than %d levels", maxOutputDepth)
	}
	switch v := value.(type) {
	case string:
		if strings.ContainsRune(v, 0) {
			return errors.New("holds a zero byte")
		}
	case []any:
		for _, inner := range v {
			if err := storable(inner, depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, inner := range v {
			if err := storable(inner, depth+1); err != nil {
				return err
			}
			if err := storable(key, depth); err != nil {
				return err
			}
		}
	}
	return nil
}
