package main

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	chassisv1 "marketplace/gen/go/chassis/v1"
)

// contract is what the gateway takes from the .proto files, read once at start.
type contract struct {
	routes   routes
	policies map[string]*policy // by full method, as gRPC writes it
	statuses map[uint32]int     // HTTP statuses by gRPC code
	longest  time.Duration      // that any call may take
}

// policy is what an RPC promises over HTTP.
type policy struct {
	success  int
	deadline time.Duration // of a call that asks for none
	longest  time.Duration // that a call may ask for
	// requestID is the field that an Idempotency-Key fills, or nil.
	requestID protoreflect.FieldDescriptor
}

// readContract refuses what the gateway would not do right, all of it at once.
func readContract(files ...protoreflect.FileDescriptor) (*contract, error) {
	c := &contract{routes: routes{}, policies: map[string]*policy{}}
	var mistakes []error
	for _, file := range files {
		for method := range methods(file) {
			if err := c.add(method); err != nil {
				mistakes = append(mistakes, fmt.Errorf("%s: %w", method.FullName(), err))
			}
		}
	}
	var err error
	c.statuses, err = readStatuses(chassisv1.Code(0).Descriptor())
	return c, errors.Join(append(mistakes, err)...)
}

func methods(file protoreflect.FileDescriptor) func(func(protoreflect.MethodDescriptor) bool) {
	return func(yield func(protoreflect.MethodDescriptor) bool) {
		for i := range file.Services().Len() {
			all := file.Services().Get(i).Methods()
			for k := range all.Len() {
				if !yield(all.Get(k)) {
					return
				}
			}
		}
	}
}

func (c *contract) add(method protoreflect.MethodDescriptor) error {
	if method.IsStreamingClient() || method.IsStreamingServer() {
		return errors.New("the gateway does not do streams")
	}
	p, err := readPolicy(method)
	if err != nil {
		return err
	}
	c.policies[fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())] = p
	c.longest = max(c.longest, p.longest)

	rule, _ := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
	if rule == nil {
		return nil // an RPC for services only
	}
	for _, rule := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
		r, err := readRoute(method.Input(), rule)
		if err == nil {
			err = c.routes.add(r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readPolicy(method protoreflect.MethodDescriptor) (*policy, error) {
	said, _ := proto.GetExtension(method.Options(), chassisv1.E_Method).(*chassisv1.MethodPolicy)
	if said == nil {
		return nil, errors.New("it has no (chassis.v1.method) policy")
	}
	p := &policy{
		success:  int(said.GetSuccessStatus()),
		deadline: said.GetDeadline().GetDefault().AsDuration(),
		longest:  said.GetDeadline().GetMax().AsDuration(),
	}
	if p.success == 0 {
		p.success = 200
	}
	if p.success < 200 || p.success > 299 {
		return nil, fmt.Errorf("success_status %d is none of a success", p.success)
	}
	if p.deadline <= 0 || p.longest < p.deadline {
		return nil, errors.New("its deadline needs a default above 0 and a max that is not below it")
	}
	field := method.Input().Fields().ByName("request_id")
	if field != nil && field.Kind() == protoreflect.StringKind && !field.IsList() {
		p.requestID = field
	}
	return p, nil
}

// readStatuses reads what each code means over HTTP. OK means what the policy of
// the RPC says.
func readStatuses(codes protoreflect.EnumDescriptor) (map[uint32]int, error) {
	statuses := map[uint32]int{}
	for i := range codes.Values().Len() {
		value := codes.Values().Get(i)
		said, _ := proto.GetExtension(value.Options(), chassisv1.E_Code).(*chassisv1.CodePolicy)
		if value.Number() != 0 && said.GetHttpStatus() == 0 {
			return nil, fmt.Errorf("%s: it has no (chassis.v1.code) with an HTTP status", value.FullName())
		}
		statuses[uint32(value.Number())] = int(said.GetHttpStatus())
	}
	return statuses, nil
}
