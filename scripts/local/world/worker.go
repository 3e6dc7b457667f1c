package world

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Workers are the process ids of a function's running environments on this platform, idle ones too.
func (p *Platform) Workers(function string) []int {
	var pids []int
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	for _, file := range all {
		env, err := os.ReadFile(file)
		if err != nil {
			continue // another user's, or ended
		}
		fields := bytes.Split(env, []byte{0})
		if has(fields, "FIREBREAK_LOCAL_STATE="+p.State) && has(fields, "AWS_LAMBDA_FUNCTION_NAME="+function) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func has(fields [][]byte, want string) bool {
	for _, f := range fields {
		if string(f) == want {
			return true
		}
	}
	return false
}

// Kill ends every environment of a function at once (SIGKILL), in the middle of whatever it does, and says how many.
func (p *Platform) Kill(function string) int {
	n := 0
	for _, pid := range p.Workers(function) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil || !errors.Is(err, syscall.ESRCH) {
			n++
		}
	}
	return n
}
