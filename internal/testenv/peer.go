package testenv

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// findPeer returns the process at the other end of a loopback connection: the
// one that has the socket from client to server open. It returns 0 when there
// is none (any more) or it is not ours to see.
func findPeer(client, server netip.AddrPort) int {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if inode := findSocket(table, client, server); inode != "" {
			return findOwner(inode)
		}
	}
	return 0
}

// findSocket looks a connection up in one of the kernel's tables, whose lines
// have the local address, the remote one, and, ninth, the inode.
func findSocket(table string, local, remote netip.AddrPort) string {
	file, err := os.Open(table)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && parseAddress(fields[1]) == local && parseAddress(fields[2]) == remote {
			return fields[9]
		}
	}
	return ""
}

// parseAddress reads the kernel's form of an address, such as
// "0100007F:1F90": 32-bit words in the machine's order (the machines we run on
// are little-endian), the port as a plain number.
func parseAddress(text string) netip.AddrPort {
	address, number, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(raw)
	port, err := strconv.ParseUint(number, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port))
}

// findOwner returns the process that has a socket open.
func findOwner(inode string) int {
	socket := fmt.Sprintf("socket:[%s]", inode)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && hasOpen(pid, socket) {
			return pid
		}
	}
	return 0
}

func hasOpen(pid int, file string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	descriptors, err := os.ReadDir(dir)
	if err != nil {
		return false // it has ended, or is another user's
	}
	return slices.ContainsFunc(descriptors, func(descriptor os.DirEntry) bool {
		link, err := os.Readlink(filepath.Join(dir, descriptor.Name()))
		return err == nil && link == file
	})
}
