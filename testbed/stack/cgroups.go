package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const cgroupMount = "/sys/fs/cgroup"

// cgroupRoots are the roots of the hierarchies: one with cgroup v2, one a controller with v1.
func cgroupRoots() []string {
	if _, err := os.Stat(filepath.Join(cgroupMount, "cgroup.controllers")); err == nil {
		return []string{cgroupMount}
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil
	}
	var roots []string
	for _, entry := range entries {
		if entry.IsDir() { // the others are links for pairs of controllers
			roots = append(roots, filepath.Join(cgroupMount, entry.Name()))
		}
	}
	return roots
}

// makeCgroup makes a control group in every hierarchy: kubelet wants to find the one that it is to work below.
func makeCgroup(name string) error {
	for _, root := range cgroupRoots() {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("make the node's control groups: %w", err)
		}
		// With cgroup v1, a new cpuset has no processors until it is given some.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			inherited, err := os.ReadFile(filepath.Join(root, file))
			if err != nil {
				continue // another controller, or cgroup v2, where the root has no such file
			}
			if err := os.WriteFile(filepath.Join(dir, file), inherited, 0); err != nil {
				return fmt.Errorf("make the node's control groups: %w", err)
			}
		}
	}
	return nil
}

// removeCgroup removes a control group and those in it from every hierarchy. Its processes must be about to end.
func removeCgroup(name string) error {
	if name == "" {
		return nil
	}
	for _, root := range cgroupRoots() {
		var last error
		removed := waitUntil(5*time.Second, func() bool {
			last = removeCgroupTree(filepath.Join(root, name))
			return last == nil
		})
		if !removed {
			return fmt.Errorf("remove the node's control groups: %w", last)
		}
	}
	return nil
}

func removeCgroupTree(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// Children first. Their files are the kernel's and go with them.
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
