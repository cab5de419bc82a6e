package action

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"helm.sh/helm/v3/pkg/chart"

	"github.com/headwater-dev/headwater/agent/kustomize/bases"
)

const (
	// schemaAddress is that of a chart's own schema, to which its references lead.
	schemaAddress = "chart:///values.schema.json"
	// maxSchemaBytes bounds a schema that another one refers to.
	maxSchemaBytes = 4 << 20
	// schemaTimeout is how long it may take to fetch one.
	schemaTimeout = 15 * time.Second
	// validationTimeout is how long the schemas of a chart and its subcharts may take
	// together; one of thousands of definitions takes a second or two.
	validationTimeout = time.Minute
)

// schemas fetches what charts' schemas refer to.
var schemas = bases.New()

// validate holds the values against the schemas of a chart and its subcharts. It is
// in the place of Helm's own validation, which reads files and any address for the
// chart, and repeats values in its errors, which may be a Secret's.
func (s *Session) validate(of *chart.Chart, values map[string]any) error {
	ctx, cancel := context.WithTimeout(s.ctx, validationTimeout)
	defer cancel()
	if wrong := wrongIn(ctx, of, values); len(wrong) > 0 {
		return errors.New("values don't meet the specifications of the schema(s) in the following chart(s):\n" + strings.Join(wrong, "\n"))
	}
	return nil
}

// wrongIn is what is wrong with the values of a chart and its subcharts.
func wrongIn(ctx context.Context, of *chart.Chart, values map[string]any) (wrong []string) {
	if of.Schema != nil {
		if err := validateOne(ctx, of.Schema, values); err != nil {
			wrong = append(wrong, of.Name()+":\n"+err.Error())
		}
	}
	for _, below := range of.Dependencies() {
		given, ok := values[below.Name()].(map[string]any)
		switch {
		case ok:
			wrong = append(wrong, wrongIn(ctx, below, given)...)
		case values[below.Name()] != nil:
			wrong = append(wrong, below.Name()+":\ninvalid type for values: expected object (map)")
		}
	}
	return wrong
}

func validateOne(ctx context.Context, schema []byte, values map[string]any) (err error) {
	left := newBudget(ctx, values)
	defer func() {
		crash := recover()
		switch {
		case left.spent():
			err = errSchemaTooMuch
		case crash != nil:
			err = errors.New("the validation crashed on its schema")
		}
	}()
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return errors.New("its values.schema.json is no JSON")
	}
	if err := left.take(schemaAddress, parsed); err != nil {
		return err
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(referred{left})
	compiler.UseRegexpEngine(left.pattern)
	if err := compiler.AddResource(schemaAddress, parsed); err != nil {
		return fmt.Errorf("its values.schema.json: %w", err)
	}
	compiled, err := left.compile(compiler, schemaAddress)
	if err != nil {
		return fmt.Errorf("its values.schema.json: %w", err)
	}
	err = compiled.Validate(values)
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) && !left.spent() {
		return errors.New(strings.Join(causes(invalid), "\n"))
	}
	return err
}

// referred loads schemas by https alone, and not from addresses of the machine.
type referred struct{ *budget }

// Load implements jsonschema.URLLoader. Its errors do not say what was found: that is
// not the chart's to know.
func (r referred) Load(address string) (any, error) {
	to, err := url.Parse(address)
	if err == nil && to.Scheme == "urn" {
		return true, nil // as Helm does: anything is taken
	}
	if err != nil || to.Scheme != "https" {
		return nil, errors.New("only what https serves can be referred to: set disableSchemaValidation to do without")
	}
	ctx, cancel := context.WithTimeout(r.ctx, schemaTimeout)
	defer cancel()
	content, err := schemas.File(ctx, address, maxSchemaBytes)
	if err != nil {
		return nil, errors.New("it could not be fetched")
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
	if err != nil {
		return nil, errors.New("it is no JSON")
	}
	return parsed, r.take(address, parsed)
}

// causes says where the values are wrong, and by which rule.
func causes(of *jsonschema.ValidationError) []string {
	if len(of.Causes) == 0 {
		return []string{fmt.Sprintf("- at '/%s': %s", strings.Join(of.InstanceLocation, "/"), rule(of.ErrorKind))}
	}
	var all []string
	for _, cause := range of.Causes {
		all = append(all, causes(cause)...)
	}
	return all
}

// rule is what was not kept to. Of the rules whose words repeat the value it is the
// name.
func rule(of jsonschema.ErrorKind) string {
	switch of := of.(type) {
	case *kind.Format:
		var first *jsonschema.ValidationError // of what is checked in the place of the format
		if errors.As(of.Err, &first) {
			return rule(first.Causes[0].ErrorKind)
		}
	case *kind.Type, *kind.Required, *kind.AdditionalProperties, *kind.MinProperties, *kind.MaxProperties, *kind.FalseSchema,
		*kind.MinItems, *kind.MaxItems, *kind.MinLength, *kind.MaxLength, *kind.DependentRequired:
		return of.LocalizedString(message.NewPrinter(language.English))
	}
	return "it does not meet '" + strings.Join(of.KeywordPath(), "/") + "'"
}
