package main

import (
	"fmt"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/headwater-dev/headwater/e2e/stack"
)

// explore writes a kubeconfig with a context for each cluster and says what to
// do with it.
func (w *world) explore() (string, error) {
	merged := clientcmdapi.NewConfig()
	for _, c := range append([]*cluster{w.hub}, w.targets...) {
		encoded, err := c.Kubeconfig()
		if err != nil {
			return "", err
		}
		config, err := clientcmd.Load(encoded)
		if err != nil {
			return "", err
		}
		user := c.name + "-admin"
		merged.Clusters[c.name] = config.Clusters[c.name]
		for _, auth := range config.AuthInfos {
			merged.AuthInfos[user] = auth
		}
		merged.Contexts[c.name] = &clientcmdapi.Context{Cluster: c.name, AuthInfo: user, Namespace: namespaceOf(c, w.hub)}
	}
	merged.CurrentContext = w.hub.name
	path := filepath.Join(w.dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*merged, path); err != nil {
		return "", err
	}
	clone, err := w.repository.cloneURL()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`
It all stays up until Ctrl-C. To explore:

  export KUBECONFIG=%s
  kubectl get gitrepositories,kustomizations,remoteclusters,imagepolicies
  kubectl get leases -L fleet.headwater.dev/member      # the agents that are alive
  kubectl get events --sort-by=.lastTimestamp
  kubectl --context prod-eu get deploy,pods,cm,storefronts,leases -A
  kubectl --context prod-eu scale deploy shop --replicas=5   # and see it put back
  git clone %s   # change something under it and push
`, path, clone), nil
}

func namespaceOf(c, hub *cluster) string {
	if c == hub {
		return stack.Namespace
	}
	return "shop"
}
