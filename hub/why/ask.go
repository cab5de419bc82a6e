package why

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/headwater-dev/headwater/shard"
)

const (
	// debugPath is where agents with --debug-targets tell of their targets, and
	// debugPort is the port of --metrics-addr in config/agent.
	debugPath = "/debug/targets"
	debugPort = "8080"
	// maxReport bounds in bytes what is read of an agent's answer.
	maxReport = 32 << 20
)

// ask asks the agent that owns the first of the keys.
func (r *reader) ask(ctx context.Context, config *rest.Config) error {
	agents := r.facts.agents()
	if len(agents) == 0 {
		return nil // there is nobody to ask, and the answer says so
	}
	agent := agents[0]
	if shard.IsPullAgent(agent) && r.debugAddr == "" {
		return fmt.Errorf("--live: agent %s is inside of its cluster: forward its port there with kubectl port-forward, and name it with --debug-addr", agent)
	}
	var content []byte
	var err error
	if r.debugAddr != "" {
		content, err = r.askAddress(ctx)
	} else {
		content, err = r.askPod(ctx, config, agent)
	}
	if err != nil {
		return err
	}
	var report struct {
		Agent   string `json:"agent"`
		Targets []live `json:"targets"`
	}
	if err := json.Unmarshal(content, &report); err != nil {
		return fmt.Errorf("--live: the answer of agent %s is not one of an agent of this version: %w", agent, err)
	}
	if report.Agent != agent {
		return fmt.Errorf("--live: agent %s has answered, and %s owns the target: name its address with --debug-addr", report.Agent, agent)
	}
	r.facts.live = &live{agent: agent, unknown: true}
	for _, target := range report.Targets {
		if target.Key == r.facts.keys[0].String() {
			target.agent = agent
			r.facts.live = &target
		}
	}
	return nil
}

// askPod reaches the agent's Pod, which has its name, through the API server.
func (r *reader) askPod(ctx context.Context, config *rest.Config, agent string) ([]byte, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the hub: %w", err)
	}
	content, err := clients.CoreV1().Pods(r.system).ProxyGet("http", agent, debugPort, debugPath, nil).DoRaw(ctx)
	pod := r.system + "/" + agent
	switch {
	case apierrors.IsNotFound(err) && strings.Contains(err.Error(), "pods"):
		return nil, fmt.Errorf("--live: there is no Pod %s: name the agent's address with --debug-addr, or its namespace with --runtime-namespace", pod)
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("--live: Pod %s serves no %s: start the agents with --debug-targets", pod, debugPath)
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("--live: you may not reach Pod %s: it needs get on pods/proxy in namespace %s: %w", pod, r.system, err)
	case err != nil:
		return nil, fmt.Errorf("--live: ask Pod %s, or name the agent's address with --debug-addr: %w", pod, err)
	}
	return content, nil
}

// askAddress reaches the agent at a plain address.
func (r *reader) askAddress(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	address := strings.TrimSuffix(r.debugAddr, "/") + debugPath
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("--debug-addr: want a URL such as http://127.0.0.1:8080: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("--debug-addr: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
		return io.ReadAll(io.LimitReader(response.Body, maxReport))
	case http.StatusNotFound:
		return nil, errors.New("--debug-addr: nothing at " + address + ": start the agents with --debug-targets")
	default:
		return nil, fmt.Errorf("--debug-addr: %s answers %s", address, response.Status)
	}
}
