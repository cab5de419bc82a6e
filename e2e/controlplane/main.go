// Command controlplane is a Kubernetes control plane in one binary: etcd,
// kube-apiserver and kube-controller-manager, built from their own source.
//
// The part that runs is chosen by the name the binary is called by (through a
// link named etcd, kube-apiserver or kube-controller-manager) or, failing
// that, by the first argument. Links of those names make a directory that
// controller-runtime's envtest accepts as KUBEBUILDER_ASSETS.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

const usage = `usage: controlplane etcd|kube-apiserver|kube-controller-manager [flags]

Runs one part of a Kubernetes control plane. Give --help after the name of a
part for its flags.
`

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if !isPart(name) {
		if len(args) == 0 || !isPart(args[0]) {
			fmt.Fprint(os.Stderr, usage)
			os.Exit(2)
		}
		name, args = args[0], args[1:]
	}
	os.Exit(run(name, args))
}

func isPart(name string) bool {
	switch name {
	case "etcd", "kube-apiserver", "kube-controller-manager":
		return true
	}
	return false
}

func run(name string, args []string) int {
	var command *cobra.Command
	switch name {
	case "etcd":
		etcdmain.Main(append([]string{name}, args...))
		return 0
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllermanager.NewControllerManagerCommand()
	}
	command.SetArgs(args)
	return cli.Run(command)
}
