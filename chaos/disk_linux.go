package main

import (
	"errors"
	"os"
	"syscall"
)

const (
	fillStep = 64 << 20
	fillEnd  = 512 // bytes; less than a block of any file system
)

// fill makes a file that takes all the room there is, down to the last block. Nothing is written: room is claimed.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	at := int64(0)
	for step := int64(fillStep); step >= fillEnd; {
		switch err := syscall.Fallocate(int(file.Fd()), 0, at, step); {
		case err == nil:
			at += step
		case errors.Is(err, syscall.ENOSPC):
			step /= 2
		case !errors.Is(err, syscall.EINTR):
			return &os.PathError{Op: "fallocate", Path: path, Err: err}
		}
	}
	return nil
}
