// Package install puts an agent into a target cluster that the hub cannot reach,
// and takes it out again: hub agent install and hub agent uninstall.
//
// On the hub it makes the RemoteCluster of mode Pull, and a ServiceAccount that may
// read and write what an agent needs in the RemoteCluster's namespace, and nothing
// anywhere else. Of Kustomizations and HelmReleases that is the finalizer and the
// status of those that deploy to the cluster, which an admission policy says: it is
// made where the hub has none, for all agents, and an older one is replaced. In the cluster it makes what runs the agent, from the same
// manifests as the agents of the hub, or prints that as YAML.
//
// It promises that a second run changes nothing but the token, and that uninstall
// removes all that install has made for the cluster, and nothing else: a namespace
// that was there before stays. It never reads a credential of the target's, and prints the token
// nowhere but in the YAML that was asked for.
package install
