// Package fleet keeps the inventory of target clusters: one RemoteCluster for
// each kubeconfig that a Kustomization or HelmRelease names, for each Secret that
// is labelled as a cluster, for each Cluster of Cluster API, and for the hub itself.
//
// It promises that a target in use always has a RemoteCluster, so that
// placement has a place for its record; and that what it made goes away when
// nothing refers to it any more. It never changes a RemoteCluster that a user
// made, never reads the content of a Secret, and never writes a status.
//
// Cluster API may be installed, upgraded and removed while the hub runs. Until all
// its Clusters are known, nothing is taken to be nobody's: also while their CRD serves
// no version that we know.
//
// The unit of work is a namespace, not a RemoteCluster: references, Secrets and
// RemoteClusters of one target are all in one namespace, and whether a name is
// free or a target is still in use is a question to all of it.
package fleet
