"""What is found in a contract."""

from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, OneofDescriptor, ServiceDescriptor

Element = Descriptor | FieldDescriptor | OneofDescriptor | ServiceDescriptor | MethodDescriptor


@dataclass(frozen=True, order=True)
class Finding:
    """Something wrong with an element of the contract."""

    file: str
    element: str
    text: str

    def __str__(self) -> str:
        return f"api/{self.file}: {self.element}: {self.text}"


def finding(element: Element, text: str) -> Finding:
    if isinstance(element, MethodDescriptor):
        return Finding(element.containing_service.file.name, element.full_name, text)
    if isinstance(element, FieldDescriptor | OneofDescriptor):
        assert element.containing_type is not None
        return Finding(element.containing_type.file.name, element.full_name, text)
    return Finding(element.file.name, element.full_name, text)
