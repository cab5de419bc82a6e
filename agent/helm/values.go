package helm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/strvals"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	"github.com/headwater-dev/headwater/internal/reconcile"
)

// defaultValuesKey of a ConfigMap or Secret.
const defaultValuesKey = "values.yaml"

// values composes the values: those of valuesFrom, each laid over the ones before
// it, then spec.values, and above all of them single values for their paths.
func (r *Reconciler) values(ctx context.Context, obj *helmv2.HelmRelease) (map[string]any, error) {
	all := map[string]any{}
	var paths []overlay
	for i, ref := range obj.Spec.ValuesFrom {
		text, found, err := r.valueText(ctx, obj.Namespace, ref)
		if err != nil {
			return nil, reconcile.Fail(valuesReason, fmt.Errorf("spec.valuesFrom[%d]: %w", i, err))
		}
		switch {
		case !found:
		case ref.TargetPath != "":
			paths = append(paths, overlay{ref: ref, text: text, index: i})
		default:
			read, err := chartutil.ReadValues([]byte(text))
			if err != nil {
				return nil, reconcile.Fail(valuesReason, fmt.Errorf("spec.valuesFrom[%d]: key %s of %s %s/%s is no YAML of values",
					i, cmp.Or(ref.ValuesKey, defaultValuesKey), ref.Kind, obj.Namespace, ref.Name))
			}
			all = laidOver(all, read)
		}
	}
	if obj.Spec.Values != nil && len(obj.Spec.Values.Raw) > 0 {
		var own map[string]any
		if err := json.Unmarshal(obj.Spec.Values.Raw, &own); err != nil {
			return nil, reconcile.Fail(valuesReason, errors.New("spec.values: it is no object"))
		}
		all = laidOver(all, own)
	}
	for _, one := range paths {
		if err := one.put(all); err != nil {
			return nil, reconcile.Fail(valuesReason, fmt.Errorf("spec.valuesFrom[%d]: %w", one.index, err))
		}
	}
	return all, nil
}

// overlay is a single value for a path.
type overlay struct {
	ref   helmv2.ValuesReference
	text  string
	index int
}

// put parses the value as helm --set does, or takes it as it is. What the value
// is does not appear in errors: it may be a Secret's.
func (o overlay) put(into map[string]any) error {
	var err error
	if o.ref.Literal {
		err = strvals.ParseLiteralInto(o.ref.TargetPath+"="+o.text, into)
	} else {
		err = setInto(o.ref.TargetPath, o.text, into)
	}
	if err != nil {
		return fmt.Errorf("the value of key %s of %s %s cannot be set at targetPath %s: its syntax is that of helm --set; literal: true takes it as it is",
			cmp.Or(o.ref.ValuesKey, defaultValuesKey), o.ref.Kind, o.ref.Name, o.ref.TargetPath)
	}
	return nil
}

// setInto sets one value. In quotes it stays a string.
func setInto(path, text string, into map[string]any) error {
	for _, quote := range []string{"'", `"`} {
		if len(text) > 1 && text[:1] == quote && text[len(text)-1:] == quote {
			return strvals.ParseIntoString(path+"="+text[1:len(text)-1], into)
		}
	}
	return strvals.ParseInto(path+"="+text, into)
}

// valueText reads one key, past the cache. Not found are objects and keys that
// are optional.
func (r *Reconciler) valueText(ctx context.Context, namespace string, ref helmv2.ValuesReference) (text string, found bool, err error) {
	name := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	key := cmp.Or(ref.ValuesKey, defaultValuesKey)
	switch ref.Kind {
	case kindConfigMap:
		var config corev1.ConfigMap
		if err = r.Live.Get(ctx, name, &config); err == nil {
			text, found = config.Data[key]
		}
	case kindSecret:
		var secret corev1.Secret
		if err = r.Live.Get(ctx, name, &secret); err == nil {
			var raw []byte
			raw, found = secret.Data[key]
			text = string(raw)
		}
	default:
		return "", false, fmt.Errorf("kind %q: want ConfigMap or Secret", ref.Kind)
	}
	switch {
	case apierrors.IsNotFound(err) && ref.Optional:
		return "", false, nil
	case apierrors.IsNotFound(err):
		return "", false, fmt.Errorf("%s '%s' not found", ref.Kind, name)
	case err != nil:
		return "", false, fmt.Errorf("read %s '%s': %w", ref.Kind, name, err)
	case !found && !ref.Optional:
		return "", false, fmt.Errorf("missing key '%s' in %s '%s'", key, ref.Kind, name)
	}
	return text, found, nil
}

// laidOver merges maps deeply; all else of the upper one takes the place of what
// is below it.
func laidOver(under, over map[string]any) map[string]any {
	merged := make(map[string]any, len(under)+len(over))
	for key, value := range under {
		merged[key] = value
	}
	for key, value := range over {
		above, isMap := value.(map[string]any)
		below, wasMap := merged[key].(map[string]any)
		if isMap && wasMap {
			merged[key] = laidOver(below, above)
			continue
		}
		merged[key] = value
	}
	return merged
}
