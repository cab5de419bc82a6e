package app

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"
)

func TestCommandsAreCalledByTheirWords(t *testing.T) {
	var called string
	command := func(name string, err error) Command {
		return Command{Name: name, Run: func(_ context.Context, args []string) error {
			called = name
			for _, arg := range args {
				called += "|" + arg
			}
			return err
		}}
	}
	failed := errors.New("failed")
	p := Program{Name: "hub", Commands: []Command{command("why", nil), command("agent install", failed), command("help", pflag.ErrHelp)}}
	for _, tc := range []struct {
		args []string
		want string
		err  error
	}{
		{[]string{"why", "kustomization/a", "-n", "x"}, "why|kustomization/a|-n|x", nil},
		{[]string{"agent", "install", "--cluster=a"}, "agent install|--cluster=a", failed},
		{[]string{"help"}, "help", nil},
	} {
		g := NewWithT(t)
		found, rest := p.called(tc.args)
		g.Expect(found).NotTo(BeNil())
		if tc.err == nil {
			g.Expect(found.run(t.Context(), rest)).To(Succeed())
		} else {
			g.Expect(found.run(t.Context(), rest)).To(MatchError(tc.err))
		}
		g.Expect(called).To(Equal(tc.want))
	}
	for _, args := range [][]string{nil, {"agent"}, {"--log-level", "why"}} {
		found, _ := p.called(args)
		NewWithT(t).Expect(found).To(BeNil())
	}
}
