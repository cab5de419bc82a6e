// Package pull is what an agent needs that runs inside of the one cluster which
// it applies to: access to the hub from there.
//
// The credentials are in a Secret beside the agent, where hub agent install put
// them: a short-lived token of a ServiceAccount on the hub that may read and write
// the namespace of its RemoteCluster, and no other. The agent renews the token
// when a third of its life is over, and keeps the new one in the Secret for its
// successor. Artifacts come from the hub's TLS address, with the same token.
//
// It promises that a token is sent nowhere but to the hub's API server and to the
// hub's artifact server, both over TLS with the authorities that the Secret names;
// and that a token which was put into the Secret by hand is used within a minute,
// so that an agent whose token has run out recovers when it is installed again. A
// Secret that is for another hub or RemoteCluster by now is its successor's: it is
// neither read on nor written.
//
// It never needs a connection from the hub: the agent connects, always.
package pull
