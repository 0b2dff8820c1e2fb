package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// usage is what a process and its children have used of the processors so far.
func usage(pid int) time.Duration {
	total := time.Duration(0)
	for _, p := range family(pid) {
		total += used(p)
	}
	return total
}

// family is a process and all that descend from it.
func family(root int) []int {
	children := map[int][]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is ours, and right
	for _, f := range files {
		if s := statOf(f); s != nil {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			parent, _ := strconv.Atoi(s[1])
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// statOf are the fields of a stat file from the state on, nil when the process
// is no more.
func statOf(file string) []string {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.Fields(rest)
}

// used counts the threads to the nanosecond where the kernel does, and else the
// process, with the children it has waited for, in ticks of 10 ms.
func used(pid int) time.Duration {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	total := time.Duration(0)
	for _, t := range threads {
		b, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(b), " ")
		ns, _ := strconv.ParseInt(first, 10, 64)
		total += time.Duration(ns)
	}
	s := statOf(fmt.Sprintf("/proc/%d/stat", pid))
	if len(s) < 15 {
		return total
	}
	for i, field := range s[11:15] { // utime, stime, cutime, cstime
		if total > 0 && i < 2 {
			continue
		}
		ticks, _ := strconv.ParseInt(field, 10, 64)
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	return total
}

// resident is the memory of a process and its children, in bytes.
func resident(pid int) int64 {
	total := int64(0)
	for _, p := range family(pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p))
		if f := strings.Fields(string(b)); err == nil && len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			total += pages * int64(os.Getpagesize())
		}
	}
	return total
}

// load is how busy the machine is, as uptime says it.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
