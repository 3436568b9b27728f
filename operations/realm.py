"""`cygnet realm`: what somebody changed by hand in the stack's own Keycloak, and a way back to what is declared."""

import argparse

from components.errors import CygnetError
from components.sign_in import keycloak_admin
from operations.stack import Stack

NAME = "realm"
HELP = "show what in a stack's Keycloak is not as the stack declared it, or bring it back to that"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whether to undo."""
    parser.add_argument("--restore", action="store_true", help="undo what was changed by hand")


def run(options: argparse.Namespace) -> None:
    """Prints a line for each difference.

    Raises:
        CygnetError: There are some, and they stay; or the stack has no Keycloak.
    """
    outputs = Stack(options.stack).outputs()
    if "realm" not in outputs:
        raise CygnetError(
            f"stack {options.stack} has no Keycloak; its sign-in is {outputs['parts']['auth']['kind']}. This command "
            "is for stacks with cygnet:auth.kind keycloak"
        )
    declared = keycloak_admin.read(outputs["realm"]["declared"])
    with keycloak_admin.administration(outputs["kubeconfig"], outputs["realm"]["secret"]) as admin:
        drift = keycloak_admin.drifted(admin, declared)
        print("\n".join(drift) or "The realm is as it was declared.")
        if drift and options.restore:
            keycloak_admin.restore(admin, declared)
            print("Undone.")
        elif drift:
            raise CygnetError(
                f"{len(drift)} changed by hand. `cygnet realm {options.stack} --restore` undoes them; what is to stay "
                "belongs into the stack file, as far as that has a key for it"
            )
