"""The four variants of the protocol that secrets are served by: two services, and for each of them two ways to say what is wanted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from controlplane.endpoints.wire_codec import delta_field, encode_delta_response, encode_sotw_response, sotw_field
from controlplane.endpoints.wire_requests import decode_delta_request, decode_sotw_request
from controlplane.usecases.known_secrets import FieldForm
from controlplane.xds.delta import DeltaSubscription
from controlplane.xds.messages import DeltaRequest, Response, SotwRequest
from controlplane.xds.pages import Pages
from controlplane.xds.sotw import SotwSubscription
from controlplane.xds.subscription import Limits, Subscription
from controlplane.xds.type_urls import SECRET

RequestT = TypeVar("RequestT", DeltaRequest, SotwRequest)


@dataclass(frozen=True, slots=True)
class Variant(Generic[RequestT]):
    """A variant of the protocol: how its messages are read and written, and its state machine.

    `label` is for metrics. `implied_type` is the type of a request that names none; empty where requests must name one. `form` makes a
    secret's part of an answer. `many_streams`: clients open a stream for each secret.
    """

    label: str
    implied_type: str
    decode: Callable[[bytes], RequestT]
    encode: Callable[[Response], bytes]
    form: FieldForm
    subscribe: Callable[[Limits, Pages[Any]], Subscription[RequestT]]
    many_streams: bool


def _delta(limits: Limits, pages: Pages[Any]) -> DeltaSubscription:
    return DeltaSubscription(SECRET, limits, pages=pages)


def _sotw(_limits: Limits, _pages: Pages[Any]) -> SotwSubscription:
    """Returns a subscription without a bound: a request names all that is wanted, and nothing can be taken away from its client."""
    return SotwSubscription(SECRET)


DELTA_ADS = Variant("delta_ads", "", decode_delta_request, encode_delta_response, delta_field, _delta, many_streams=False)
DELTA_SDS = Variant("delta_sds", SECRET, decode_delta_request, encode_delta_response, delta_field, _delta, many_streams=True)
SOTW_ADS = Variant("sotw_ads", "", decode_sotw_request, encode_sotw_response, sotw_field, _sotw, many_streams=False)
SOTW_SDS = Variant("sotw_sds", SECRET, decode_sotw_request, encode_sotw_response, sotw_field, _sotw, many_streams=True)
