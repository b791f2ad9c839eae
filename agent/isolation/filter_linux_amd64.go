package isolation

import "golang.org/x/sys/unix"

// refusedHere are calls that only this machine has.
func refusedHere() []uint32 {
	return []uint32{unix.SYS_KEXEC_FILE_LOAD, unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_LOOKUP_DCOOKIE}
}
