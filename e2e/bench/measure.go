package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/discovery"

	"github.com/headwater-dev/headwater/internal/testenv"
)

// ticksPerSecond is the unit of CPU time in /proc: USER_HZ, 100 on every Linux.
const ticksPerSecond = 100

// measurement is what one step cost.
type measurement struct {
	seconds float64
	// cpu is the CPU time by process, in seconds.
	cpu map[string]float64
	// requests are counted by API server and verb: "hub PATCH".
	requests map[string]float64
}

// measure runs a step.
func (w *world) measure(ctx context.Context, do func(context.Context) error) (measurement, error) {
	cpu, requests := w.cpu(), map[string]float64{}
	before, err := w.requests(ctx)
	if err != nil {
		return measurement{}, err
	}
	started := time.Now()
	if err := do(ctx); err != nil {
		return measurement{}, err
	}
	m := measurement{seconds: time.Since(started).Seconds(), cpu: map[string]float64{}, requests: requests}
	for name, seconds := range w.cpu() {
		m.cpu[name] = seconds - cpu[name]
	}
	after, err := w.requests(ctx)
	if err != nil {
		return m, err
	}
	for what, count := range after {
		if more := count - before[what]; more > 0 {
			requests[what] = more
		}
	}
	return m, nil
}

// cpu reads the CPU time of each process.
func (w *world) cpu() map[string]float64 {
	times := map[string]float64{}
	for name, pid := range w.pids {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		// The fields after the name, which is in parentheses: utime and stime
		// are the 14th and 15th of all.
		_, rest, _ := bytes.Cut(content, []byte(") "))
		fields := strings.Fields(string(rest))
		user, _ := strconv.ParseFloat(fields[11], 64)
		system, _ := strconv.ParseFloat(fields[12], 64)
		times[name] = (user + system) / ticksPerSecond
	}
	return times
}

// peaks reads the most memory that each process has had resident, in MiB.
func (w *world) peaks() map[string]float64 {
	peaks := map[string]float64{}
	for name, pid := range w.pids {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(content), "VmHWM:")
		var kib float64
		if _, err := fmt.Sscanf(rest, "%f kB", &kib); err == nil {
			peaks[name] = kib / 1024
		}
	}
	return peaks
}

// requests reads the counters of all API servers. The targets' are summed.
func (w *world) requests(ctx context.Context) (map[string]float64, error) {
	counts := map[string]float64{}
	for whose, control := range w.controlPlanes() {
		name := "target"
		if control == w.hubPlane {
			name = "hub"
		}
		kube, err := discovery.NewDiscoveryClientForConfig(control.Config())
		if err != nil {
			return nil, err
		}
		text, err := kube.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
		if err != nil {
			return nil, fmt.Errorf("reading the %s metrics: %w", whose, err)
		}
		for verb, count := range requestsByVerb(text) {
			counts[name+" "+verb] += count
		}
	}
	return counts, nil
}

// requestsByVerb sums the requests for resources in an API server's metrics;
// those for Leases, which are no objects of anybody's, on their own.
func requestsByVerb(metrics []byte) map[string]float64 {
	line := regexp.MustCompile(`^apiserver_request_total\{.*,resource="([^"]+)".*verb="([A-Z]+)".*\} (\S+)$`)
	counts := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	lines.Buffer(nil, len(metrics)+1)
	for lines.Scan() {
		if match := line.FindStringSubmatch(lines.Text()); match != nil {
			count, _ := strconv.ParseFloat(match[3], 64)
			verb := match[2]
			if match[1] == "leases" {
				verb += " of Leases"
			}
			counts[verb] += count
		}
	}
	return counts
}

// controlPlanePIDs finds the processes of a control plane among our children:
// the API server by its port, etcd by the socket that the API server is told.
func controlPlanePIDs(name string, control *testenv.ControlPlane) (map[string]int, error) {
	children, err := ourChildren()
	if err != nil {
		return nil, err
	}
	port := "--secure-port=" + control.URL[strings.LastIndex(control.URL, ":")+1:]
	for pid, args := range children {
		if !slices.Contains(args, port) {
			continue
		}
		found := map[string]int{name + " apiserver": pid}
		for _, arg := range args {
			socket, isSocket := strings.CutPrefix(arg, "--etcd-servers=")
			for other, otherArgs := range children {
				if isSocket && slices.Contains(otherArgs, "--listen-client-urls="+socket) {
					found[name+" etcd"] = other
				}
			}
		}
		return found, nil
	}
	return nil, errors.New("the processes of the control plane were not found in /proc")
}

// ourChildren lists our children's arguments by process id.
func ourChildren() (map[int][]string, error) {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil, err
	}
	children := map[int][]string{}
	for _, list := range lists {
		content, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(content)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return nil, err
			}
			args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err == nil {
				children[pid] = strings.Split(string(args), "\x00")
			}
		}
	}
	return children, nil
}

func sortedKeys[V any](of map[string]V) []string { return slices.Sorted(maps.Keys(of)) }
