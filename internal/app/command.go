package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// Command is something that a program does once and ends, beside running as a
// process.
type Command struct {
	// Name is the words that call it, such as "why".
	Name string
	// About is its line in the program's --help.
	About string
	// Run does it, with the arguments after its name. It parses its own flags;
	// pflag.ErrHelp, which it may return, is no failure. An error that has the
	// method ExitCode() int decides the process's exit code, which else is 1.
	Run func(ctx context.Context, args []string) error
}

// called is the command that the arguments name, and the arguments after the
// name; nil when they name none.
func (p Program) called(args []string) (*Command, []string) {
	for i := range p.Commands {
		words := strings.Fields(p.Commands[i].Name)
		if len(args) >= len(words) && slices.Equal(args[:len(words)], words) {
			return &p.Commands[i], args[len(words):]
		}
	}
	return nil, nil
}

// run runs a command. Libraries' logs are dropped: what it has to say is
// its output and its error.
func (c *Command) run(ctx context.Context, args []string) error {
	log.SetLogger(logr.Discard())
	err := c.Run(ctx, args)
	if errors.Is(err, pflag.ErrHelp) {
		return nil
	}
	return err
}

// commandHelp is the commands' part of --help.
func (p Program) commandHelp() string {
	if len(p.Commands) == 0 {
		return ""
	}
	var text strings.Builder
	text.WriteString("\nCommands:\n")
	for _, c := range p.Commands {
		fmt.Fprintf(&text, "  %s %-16s %s\n", p.Name, c.Name, c.About)
	}
	return text.String()
}

// exit ends the process with what the error stands for.
func (p Program) exit(err error) {
	if message := reconcile.Redact(err.Error()); message != "" {
		fmt.Fprintf(os.Stderr, "%s: %s\n", p.Name, message)
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		os.Exit(coded.ExitCode())
	}
	os.Exit(1)
}

// HubConfig is the access to the hub's API server of one of the hub's commands: the
// kubeconfig that the flag names, or when empty $KUBECONFIG, then a Pod's ServiceAccount.
func HubConfig(kubeconfig, flag string) (*rest.Config, error) {
	return Options{Kubeconfig: kubeconfig, KubeAPIQPS: -1}.hubConfig("hub", flag)
}
