package why

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"

	"github.com/headwater-dev/headwater/internal/app"
)

// Exit codes, besides 0 for an object that is in order.
const (
	exitUsage = 2
	exitAmiss = 3
)

// requestTimeout of every request, so that a hub that does not answer is said.
const requestTimeout = 15 * time.Second

const about = `Says who owns the target of an object, where the fence is that keeps other agents out, what the object
waits for, and its last error. It reads the hub's API and changes nothing.

Kinds: kustomization (ks), helmrelease (hr), remotecluster (rcl).

Exit codes:
  0  the object is in order
  1  it could not be told: the error says what to do
  2  the command line is wrong
  3  something keeps the object from being in order: the answer says what`

// options are the flags.
type options struct {
	kind      string
	name      types.NamespacedName
	namespace string

	kubeconfig, targetKubeconfig string
	system, fenceNamespace       string
	live                         bool
	debugAddr                    string

	out io.Writer
}

// Commands are hub why.
func Commands() []app.Command {
	return []app.Command{{
		Name: "why", About: "say who owns an object, and what it waits for",
		Run: func(ctx context.Context, args []string) error { return run(ctx, args, os.Stdout) },
	}}
}

// exit is an error with an exit code. Without a text it says nothing.
type exit struct {
	code int
	text string
}

func (e *exit) Error() string { return e.text }
func (e *exit) ExitCode() int { return e.code }

func run(ctx context.Context, args []string, out io.Writer) error {
	o := &options{out: out}
	if err := o.parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return err
		}
		return &exit{exitUsage, err.Error() + ": see hub why --help"}
	}
	config, err := app.HubConfig(o.kubeconfig, "kubeconfig")
	if err != nil {
		return err
	}
	config.Timeout = requestTimeout
	f, failed := o.read(ctx, config)
	if failed != nil && f == nil {
		return failed
	}
	a := explain(*f)
	fmt.Fprint(out, a)
	switch {
	case failed != nil:
		return failed
	case a.amiss:
		return &exit{exitAmiss, ""}
	case len(f.unread) > 0:
		return errors.New("some of it could not be read, so that nothing can be said for certain: ask with the rights of an administrator of the hub")
	}
	return nil
}

func (o *options) parse(args []string) error {
	flags := pflag.NewFlagSet("hub why", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.StringVarP(&o.namespace, "namespace", "n", "flux-system", "namespace of the object on the hub")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig of the hub; by default $KUBECONFIG, then ~/.kube/config, then the Pod's ServiceAccount")
	flags.StringVar(&o.system, "runtime-namespace", "flux-system", "namespace that Headwater runs in on the hub")
	flags.StringVar(&o.targetKubeconfig, "target-kubeconfig", "", "kubeconfig of the target, to read who holds the fence there")
	flags.StringVar(&o.fenceNamespace, "fence-namespace", "kube-system", "namespace of the fence in the target, as the agents have it")
	flags.BoolVar(&o.live, "live", false, "ask the agent that owns the target as well: place in its queue, and breaker. The agents need --debug-targets")
	flags.StringVar(&o.debugAddr, "debug-addr", "", "URL of the agent's --metrics-addr, such as http://127.0.0.1:8080; by default its Pod, through the hub's API server. Implies --live")
	flags.Usage = func() {
		fmt.Fprintf(o.out, "%s\n\nUsage:\n  hub why KIND/NAME [-n NAMESPACE] [flags]\n\nFlags:\n%s", about, flags.FlagUsages())
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	kind, name, err := parseObject(flags.Args())
	if err != nil {
		return err
	}
	o.kind, o.name = kind, types.NamespacedName{Namespace: o.namespace, Name: name}
	o.live = o.live || o.debugAddr != ""
	return nil
}
