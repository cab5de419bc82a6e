package install

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/yaml"
)

// fieldManager of the writes.
const fieldManager = "headwater-install"

func install(ctx context.Context, args []string) error {
	o := &options{out: os.Stdout, manifests: os.Stdout}
	err := o.parse("hub agent install", "Puts an agent into a cluster that the hub cannot reach: the agent connects to the hub.\nRun it again to give the agent a new token, another version, or another address or authority of the hub.", args, o.bindInstall)
	if err != nil {
		return err
	}
	if o.export {
		// What is printed is for kubectl; progress is not.
		o.out = os.Stderr
	}
	return o.install(ctx)
}

// install does the hub's part, then the cluster's. It may be run again after any
// failure.
func (o *options) install(ctx context.Context) error {
	var target client.Client
	if !o.export {
		var err error
		if target, err = o.connectTarget(); err != nil {
			return err
		}
	}
	access, hub, err := o.connectHub()
	if err != nil {
		return err
	}
	if err := o.checkServer(access); err != nil {
		return err
	}
	image, err := o.require(ctx, hub, target)
	if err != nil {
		return err
	}
	if err := o.policy(ctx, hub); err != nil {
		return err
	}
	if err := o.remoteCluster(ctx, hub); err != nil {
		return err
	}
	objects, err := o.hubObjects()
	if err != nil {
		return err
	}
	if err := o.applyAll(ctx, "hub", hub, objects); err != nil {
		return err
	}
	credentials, err := o.credentials(ctx, hub, access)
	if err != nil {
		return err
	}
	o.say("hub: token for ServiceAccount %s/%s made, for %s", o.namespace, o.account(), o.lifetime)
	if err := o.keepArgs(ctx, target); err != nil {
		return err
	}
	objects, err = o.targetObjects(credentials, image)
	if err != nil {
		return err
	}
	if o.export {
		return export(o.manifests, objects)
	}
	if err := o.applyAll(ctx, o.cluster, target, objects); err != nil {
		return err
	}
	o.say("done. The agent connects by itself: kubectl -n %s get remotecluster %s", o.namespace, o.cluster)
	return nil
}

// require says what is in the way before anything is made, and which image the
// agent is to run. What is exported has no target yet.
func (o *options) require(ctx context.Context, hub, target client.Client) (image string, err error) {
	if err := o.requireNamespace(ctx, hub); err != nil {
		return "", err
	}
	if !o.export {
		if err := o.checkAgent(ctx, hub, target); err != nil {
			return "", err
		}
		if err := o.requireFree(ctx, target); err != nil {
			return "", err
		}
	}
	if _, _, err := o.artifactAccess(ctx, hub); err != nil {
		return "", err
	}
	return o.agentImage(ctx, hub)
}

// applyAll applies objects and says what became of each.
func (o *options) applyAll(ctx context.Context, where string, to client.Client, objects []client.Object) error {
	for _, object := range objects {
		content, err := manifest(object)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(content.GetNamespace()+"/"+content.GetName(), "/")
		before := content.DeepCopy()
		err = to.Get(ctx, client.ObjectKeyFromObject(content), before)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("%s: read %s %s: %w", where, content.GetKind(), name, err)
		}
		what := "made"
		if err == nil {
			what = "changed"
		}
		if err == nil && content.GetKind() == "Namespace" && !isOwn(before) {
			// With our label, uninstall would delete it.
			o.say("%s: Namespace %s left as it is", where, name)
			continue
		}
		err = to.Apply(ctx, client.ApplyConfigurationFromUnstructured(content), client.FieldOwner(fieldManager), client.ForceOwnership)
		if err != nil {
			return fmt.Errorf("%s: apply %s %s (run uninstall first if it cannot be changed): %w", where, content.GetKind(), name, err)
		}
		if what == "changed" && before.GetResourceVersion() == content.GetResourceVersion() {
			what = "unchanged"
		}
		o.say("%s: %s %s %s", where, content.GetKind(), name, what)
	}
	return nil
}

// manifest is the object as one would write it.
func manifest(object client.Object) (*unstructured.Unstructured, error) {
	kind, err := apiutil.GVKForObject(object, kinds())
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	delete(content, "status")
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(content, "spec", "template", "metadata", "creationTimestamp")
	made := &unstructured.Unstructured{Object: content}
	made.SetGroupVersionKind(kind)
	return made, nil
}

// export prints the objects.
func export(to io.Writer, objects []client.Object) error {
	for _, object := range objects {
		content, err := manifest(object)
		if err != nil {
			return err
		}
		text, err := yaml.Marshal(content.Object)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(to, "---\n%s", text); err != nil {
			return fmt.Errorf("print the manifests: %w", err)
		}
	}
	return nil
}
