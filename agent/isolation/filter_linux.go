package isolation

import (
	"bytes"
	"encoding/binary"
	"runtime"

	"golang.org/x/sys/unix"
)

// The filter of system calls for S2 and above: what no build needs, and what kernels have been broken with. ptrace is not
// among them: it reaches only what runs as the same task, whose debuggers and sanitizers need it.

// refused are the calls that answer EPERM.
func refused() []uint32 {
	return append(refusedHere(),
		// Mounts and namespaces: the sandbox is made of them.
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE, unix.SYS_SETNS,
		unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
		// Large interfaces of the kernel, with a history.
		unix.SYS_BPF, unix.SYS_USERFAULTFD, unix.SYS_PERF_EVENT_OPEN, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		// Keys have no namespace.
		unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
		// The machine itself.
		unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
		unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG, unix.SYS_VHANGUP, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
		unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
	)
}

// namespaceFlags of clone: all of unix.CLONE_NEW*, of which CLONE_NEWTIME is none of clone's.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// Offsets into what a filter sees: struct seccomp_data. The machines that we know are little-endian.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetFirst  = 16
	offsetSecond = 24
)

func filterProgram() []byte {
	var out bytes.Buffer
	_ = binary.Write(&out, binary.NativeEndian, filter()) // a buffer takes everything
	return out.Bytes()
}

// filter is the program that judges each call: it goes down the list until something decides.
func filter() []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	answer := func(value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
	}
	// unless skips the next instructions unless the comparison holds.
	unless := func(comparison uint16, value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | comparison | unix.BPF_K, Jf: skip, K: value}
	}
	const (
		allow = unix.SECCOMP_RET_ALLOW
		no    = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		none  = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	)
	arch, foreign := architecture()
	out := []unix.SockFilter{
		load(offsetArch),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: arch},
		answer(no), // a call by another machine's numbers would pass unseen
		load(offsetNumber),
	}
	if foreign != 0 {
		out = append(out, unless(unix.BPF_JGE, foreign, 1), answer(none))
	}
	for _, number := range refused() {
		out = append(out, unless(unix.BPF_JEQ, number, 1), answer(no))
	}
	// Its flags are behind a pointer, which a filter cannot follow: C libraries then take clone.
	out = append(out, unless(unix.BPF_JEQ, unix.SYS_CLONE3, 1), answer(none))
	out = append(out, unless(unix.BPF_JEQ, unix.SYS_CLONE, 4), load(offsetFirst), unless(unix.BPF_JSET, namespaceFlags, 1), answer(no), answer(allow))
	// Typing into a terminal that somebody else reads.
	out = append(out, unless(unix.BPF_JEQ, unix.SYS_IOCTL, 4), load(offsetSecond), unless(unix.BPF_JEQ, unix.TIOCSTI, 1), answer(no), answer(allow))
	return append(out, answer(allow))
}

// architecture gives the number of this machine, and the number of a call from which another way of calling begins.
func architecture() (arch, foreign uint32) {
	if runtime.GOARCH == "arm64" {
		return unix.AUDIT_ARCH_AARCH64, 0
	}
	const x32 = 0x40000000
	return unix.AUDIT_ARCH_X86_64, x32
}
