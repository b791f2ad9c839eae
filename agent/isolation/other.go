//go:build !linux

package isolation

import (
	"context"
	"errors"
)

// Isolation is made of what only Linux has.
var errNotLinux = errors.New("tasks are isolated on Linux only")

const (
	RelayCommand  = "agent-relay"
	EscapeCommand = "agent-escape"
)

type (
	Settings struct {
		WorkDir, Name, Path string
		FirstUser           int
		Relay, Hide, Allow  []string
	}
	Host struct{ Cgroups *Cgroups }
	Cell struct {
		Level Level
		UID   int
	}
	Occupied struct{ Cell }
	User     struct{}
	Cgroups  struct{}
)

func Relay([]string) int                                    { return 1 }
func Escape([]string) int                                   { return 1 }
func LookRelay() ([]string, error)                          { return nil, errNotLinux }
func Open(Settings) (*Host, error)                          { return &Host{}, nil }
func Bare(string, Limits) *Occupied                         { return &Occupied{} }
func (*Host) Close()                                        {}
func (*Host) Sweep() ([]string, error)                      { return nil, nil }
func (*Host) Try(context.Context, Level) error              { return errNotLinux }
func (*Host) Cell(Level, string, Limits) (*Occupied, error) { return &Occupied{}, errNotLinux }
func (*Occupied) User() *User                               { return nil }
func (*Occupied) Close() error                              { return nil }
func (*Occupied) Environment() map[string]string            { return nil }
func (*User) As(do func() error) error                      { return do() }
func (*User) Furnish(string, ...string) error               { return errNotLinux }
func (*User) Give(string) error                             { return errNotLinux }
func (*User) Share(string) error                            { return errNotLinux }
func (*Host) Doctor(context.Context) Report                 { return Report{} }
