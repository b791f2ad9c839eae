//go:build !linux

package main

import "errors"

func fill(string) error { return errors.ErrUnsupported }
