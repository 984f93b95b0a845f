# Where states lie, and who deploys.
mock_provider "azurerm" {
  source = "../tests/mocks"
}

run "states" {
  assert {
    condition = (
      !azurerm_storage_account.states.shared_access_key_enabled && azurerm_storage_account.states.min_tls_version == "TLS1_2"
      && azurerm_storage_account.states.blob_properties[0].versioning_enabled && azurerm_storage_account.states.blob_properties[0].delete_retention_policy[0].days == 90
    )
    error_message = "states must have no key, TLS 1.2, versions, and a way back from a deletion"
  }

  assert {
    condition     = azurerm_management_lock.states.lock_level == "CanNotDelete"
    error_message = "nobody may delete the states by a slip of the hand"
  }

  assert {
    condition     = length(azurerm_user_assigned_identity.deployers) == 0
    error_message = "without a repository no workflow may have an identity"
  }
}

run "closed_to_strangers" {
  variables {
    allowed_addresses = ["198.51.100.0/24"]
  }

  assert {
    condition     = azurerm_storage_account.states.network_rules[0].default_action == "Deny"
    error_message = "where addresses are named, all others must be kept out"
  }
}

run "workflows" {
  variables {
    github_repository = "twinge/twinge"
  }

  assert {
    condition     = sort(keys(output.github)) == sort(["infrastructure-dev", "infrastructure-dev-plan", "infrastructure-prod", "infrastructure-prod-plan"])
    error_message = "identities must be those of the environments that terraform.yml names"
  }

  assert {
    condition = alltrue([
      for name, credential in azurerm_federated_identity_credential.deployers : credential.subject == "repo:twinge/twinge:environment:infrastructure-${name}"
    ])
    error_message = "an identity must trust one environment of one repository"
  }

  assert {
    condition = alltrue([
      for name, role in azurerm_role_assignment.states :
      role.role_definition_name == (endswith(name, "-plan") ? "Storage Blob Data Reader" : "Storage Blob Data Contributor")
      && strcontains(role.condition, "StringLike '${trimsuffix(name, "-plan")}.tfstate*'")
      && length(regexall("[(]", role.condition)) == length(regexall("[)]", role.condition))
    ])
    error_message = "who plans must read the state of its environment, who applies must write it, and neither another's"
  }

  assert {
    condition     = sort(keys(azurerm_role_assignment.appliers)) == sort(["dev", "prod"]) && sort(keys(azurerm_role_assignment.granters)) == sort(["dev", "prod"])
    error_message = "who plans may change nothing"
  }

  assert {
    condition = length(setsubtract(
      flatten([
        for file in fileset("../modules", "**/*.tf") :
        regexall("\"((?:Azure Event Hubs Data|Storage Blob|Key Vault Secrets|IoT Hub Registry|Container Apps Jobs) ?[A-Za-z ]*|Acr[A-Z][a-z]+)\"", file("../modules/${file}"))
      ]),
      output.grantable_roles
    )) == 0
    error_message = "a role that a module gives must be one that workflows may give"
  }

  # Owner, User Access Administrator and Role Based Access Control Administrator.
  assert {
    condition = alltrue([
      for role in azurerm_role_assignment.granters :
      strcontains(role.condition, "ForAnyOfAnyValues:GuidEquals") && !strcontains(role.condition, "8e3af657-a8ff-443c-a75c-2fe8c4bcb635")
      && !strcontains(role.condition, "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9") && !strcontains(role.condition, "f58310d9-a9f6-439a-9e8d-f62e7b41a168")
      && length(regexall("[(]", role.condition)) == length(regexall("[)]", role.condition))
    ])
    error_message = "who applies may give the roles of the modules, and none that gives roles"
  }
}

run "a_repository_as_an_address" {
  command = plan

  variables {
    github_repository = "https://github.com/twinge/twinge"
    name              = "Twinge"
    location          = "West Europe"
    allowed_addresses = ["everywhere"]
  }

  expect_failures = [var.github_repository, var.name, var.location, var.allowed_addresses]
}
