package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Version prints the version of this binary." + exitStatus(exitDone),
		Example: examples("otto version"),
		Args:    nothing,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.printJSON(map[string]string{"version": version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			_, err := fmt.Fprint(a.stdout, versionLine())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func versionLine() string {
	return fmt.Sprintf("otto %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// release is set by the linker when a release is built: -X main.release=1.2.3.
var release string

// version is the release, or what Go's build knows of the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if release != "" || !ok {
		return first(release, "unknown")
	}
	return first(info.Main.Version, "(devel)")
}
