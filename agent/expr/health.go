package expr

import (
	"context"
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/headwater-dev/headwater/api/meta"
)

// Rule tells the health of the objects of a kind. It is safe for concurrent
// use.
type Rule struct {
	// inProgress and failed are nil where the user gave none.
	inProgress, failed, current *Condition
}

// Rules are the rules of one object, by the kinds that they are for. A rule for
// a kind goes before one for its whole group.
type Rules map[schema.GroupKind]*Rule

// Rules compiles custom health checks. An error names the entry, counted from
// zero.
func (c *Compiler) Rules(checks []meta.CustomHealthCheck) (Rules, error) {
	rules := make(Rules, len(checks))
	for i, check := range checks {
		version, err := schema.ParseGroupVersion(check.APIVersion)
		if err != nil {
			return nil, fmt.Errorf("[%d].apiVersion: %w", i, err)
		}
		kind := schema.GroupKind{Group: version.Group, Kind: check.Kind}
		if rules[kind] != nil {
			return nil, fmt.Errorf("[%d]: there is an entry for the group %q and kind %q already: remove one of the two", i, kind.Group, kind.Kind)
		}
		if rules[kind], err = c.rule(check.HealthCheckExpressions); err != nil {
			return nil, fmt.Errorf("[%d]%w", i, err)
		}
	}
	return rules, nil
}

func (c *Compiler) rule(expressions meta.HealthCheckExpressions) (*Rule, error) {
	var rule Rule
	for _, part := range []struct {
		field, text string
		into        **Condition
	}{
		{"inProgress", expressions.InProgress, &rule.inProgress},
		{"failed", expressions.Failed, &rule.failed},
		{"current", expressions.Current, &rule.current},
	} {
		if part.text == "" && part.field != "current" {
			continue
		}
		compiled, err := c.Compile(part.text)
		if err != nil {
			return nil, fmt.Errorf(".%s: %w", part.field, err)
		}
		*part.into = compiled
	}
	return &rule, nil
}

// For returns the rule for objects of the kind, nil for none.
func (r Rules) For(kind schema.GroupKind) *Rule {
	if rule := r[kind]; rule != nil {
		return rule
	}
	return r[schema.GroupKind{Group: kind.Group}]
}

// Status tells the health of a live object: in progress while its controller
// has not seen the newest spec, else what the first expression says that holds,
// in the order inProgress, failed, current; in progress when none does.
func (r *Rule) Status(ctx context.Context, obj *unstructured.Unstructured) (status.Status, error) {
	observed, found, err := unstructured.NestedInt64(obj.Object, "status", "observedGeneration")
	if err == nil && found && observed != obj.GetGeneration() {
		return status.InProgressStatus, nil
	}
	for _, part := range []struct {
		condition *Condition
		means     status.Status
	}{
		{r.inProgress, status.InProgressStatus},
		{r.failed, status.FailedStatus},
		{r.current, status.CurrentStatus},
	} {
		if part.condition == nil {
			continue
		}
		holds, err := part.condition.Holds(ctx, obj.Object)
		if err != nil {
			return status.UnknownStatus, err
		}
		if holds {
			return part.means, nil
		}
	}
	return status.InProgressStatus, nil
}
