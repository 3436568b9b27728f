"""What runs inside of the test cloud, with the packages of requirements.lock and not with the project's."""
