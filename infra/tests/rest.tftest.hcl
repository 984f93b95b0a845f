# The modules that say one thing each: vault, images, page, learning, devices, network, budget, names.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

variables {
  resource_group_name = "twinge-test"
  resource_group_id   = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test"
  location            = "westeurope"
  tags                = {}
  base_name           = "twinge-test"
  public_access       = false
}

run "vault" {
  variables {
    name         = "twinge-test-00000"
    tenant_id    = "00000000-0000-0000-0000-000000000004"
    deleted_days = 90
  }

  module {
    source = "./modules/secrets"
  }

  assert {
    condition = (
      azurerm_key_vault.this.rbac_authorization_enabled && azurerm_key_vault.this.purge_protection_enabled
      && azurerm_key_vault.this.soft_delete_retention_days == 90
      && !azurerm_key_vault.this.public_network_access_enabled && azurerm_key_vault.this.network_acls[0].default_action == "Deny"
    )
    error_message = "the vault must go by roles, be closed, and give nothing up for good before 90 days"
  }
}

run "images" {
  variables {
    name = "twingetest00000"
  }

  module {
    source = "./modules/registry"
  }

  assert {
    condition = (
      !azurerm_container_registry.this.admin_enabled && !azurerm_container_registry.this.anonymous_pull_enabled
      && !azurerm_container_registry.this.public_network_access_enabled && azurerm_container_registry.this.sku == "Premium"
    )
    error_message = "images must be pulled by identity, and over a private endpoint, which only Premium has"
  }
}

run "page" {
  variables {
    account_name = "twingetestsite00000"
    replication  = "ZRS"
  }

  module {
    source = "./modules/site"
  }

  assert {
    condition = (
      !azurerm_storage_account.this.public_network_access_enabled && !azurerm_storage_account.this.shared_access_key_enabled
      && !azurerm_storage_account.this.allow_nested_items_to_be_public && azurerm_storage_account.this.min_tls_version == "TLS1_2"
    )
    error_message = "the page of a closed deployment must be closed, without keys, and over TLS 1.2"
  }

  assert {
    condition     = azurerm_storage_account_static_website.this.index_document == "index.html"
    error_message = "the page must begin with index.html"
  }
}

run "learning" {
  variables {
    account_name      = "twingetestml00000"
    replication       = "ZRS"
    deleted_days      = 30
    vault_id          = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.KeyVault/vaults/twinge-test"
    insights_id       = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Insights/components/twinge-test"
    image_registry_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.ContainerRegistry/registries/twingetest"

    online_endpoint = {
      image         = "twingetest.azurecr.io/score:1"
      instance_type = "Standard_F2s_v2"
      instances     = 2
      identity_id   = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.ManagedIdentity/userAssignedIdentities/score"
      variables     = { TWINGE_DETECTOR = "pump-pressure" }
    }
  }

  module {
    source = "./modules/learning"
  }

  assert {
    condition = (
      jsondecode(azurerm_resource_group_template_deployment.this.template_content).resources[0].properties.publicNetworkAccess == "Disabled"
      && jsondecode(azurerm_resource_group_template_deployment.this.template_content).resources[0].properties.systemDatastoresAuthMode == "identity"
      && !azurerm_storage_account.this.shared_access_key_enabled && !azurerm_storage_account.this.public_network_access_enabled
      && azurerm_storage_account.this.min_tls_version == "TLS1_2"
    )
    error_message = "the workspace must be closed and use its account by identity"
  }

  assert {
    condition = (
      jsondecode(azurerm_resource_group_template_deployment.this.template_content).resources[1].properties.inferenceConfig.scoringRoute.path == "/v2/models/pump-pressure/infer"
      && jsondecode(azurerm_resource_group_template_deployment.this.template_content).resources[1].properties.inferenceConfig.livenessRoute.path == "/v2/health/live"
      && jsondecode(azurerm_resource_group_template_deployment.this.template_content).resources[2].properties.authMode == "AADToken"
      && jsondecode(azurerm_resource_group_template_deployment.this.template_content).resources[3].sku.capacity == 2
    )
    error_message = "the endpoint must ask what docs/model-endpoint.md says, and be asked by identity"
  }
}

run "devices" {
  variables {
    unique_name    = "twinge-test-00000"
    environment_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.App/managedEnvironments/twinge-test"
    default_domain = "kind-hill-01234567.westeurope.azurecontainerapps.io"
    programs       = { image_server = "twingetest.azurecr.io", host_image = "twingetest.azurecr.io/twinge-host:1.0.0", trust_root = "{}" }
    registry_url   = "https://twingereg.blob.core.windows.net/registry"
    detector       = "pump-pressure"
    channel        = "stable"
    rights_days    = 7
    operators      = { ann = "00000000-0000-0000-0000-00000000000a" }

    identity = {
      id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.ManagedIdentity/userAssignedIdentities/devices"
      client_id    = "00000000-0000-0000-0000-0000000000c4"
      principal_id = "00000000-0000-0000-0000-0000000000d4"
    }

    iot_hub = {
      units                 = 1
      verdicts_hub_id       = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.EventHub/namespaces/n/eventhubs/verdicts"
      verdicts_hub_name     = "verdicts"
      verdicts_endpoint_uri = "sb://twinge-test-00000.servicebus.windows.net"
    }
  }

  module {
    source = "./modules/edge"
  }

  assert {
    condition = (
      azurerm_container_app.rights["this"].template[0].min_replicas == 1 && azurerm_container_app.rights["this"].template[0].max_replicas == 1
    )
    error_message = "there must be one desk that gives rights: a nonce is known only where it was made"
  }

  assert {
    condition     = !azurerm_container_app.rights["this"].ingress[0].allow_insecure_connections
    error_message = "rights must be asked for over https"
  }

  # The desk may be on the internet, so nothing else of the host may be.
  assert {
    condition = (
      azurerm_container_app.rights["this"].ingress[0].target_port == 8081
      && length(azurerm_container_app.rights["this"].ingress) == 1
      && one([for variable in azurerm_container_app.rights["this"].template[0].container[0].env : variable.value if variable.name == "TWINGE_DEVICE_RIGHTS_LISTEN"]) == "0.0.0.0:8081"
      && startswith(one([for variable in azurerm_container_app.rights["this"].template[0].container[0].env : variable.value if variable.name == "TWINGE_LISTEN"]), "127.0.0.1:")
    )
    error_message = "the ingress must lead to the desk's own address, and the host must serve everything else to itself"
  }

  assert {
    condition = { for kind, probe in {
      startup   = azurerm_container_app.rights["this"].template[0].container[0].startup_probe[0]
      liveness  = azurerm_container_app.rights["this"].template[0].container[0].liveness_probe[0]
      readiness = azurerm_container_app.rights["this"].template[0].container[0].readiness_probe[0]
      } : kind => "${probe.path} ${probe.port}" } == {
      startup   = "/livez 8081"
      liveness  = "/livez 8081"
      readiness = "/readyz 8081"
    }
    error_message = "probes must ask the desk's address: loopback is not reached from without"
  }

  assert {
    condition     = { for variable in azurerm_container_app.rights["this"].template[0].container[0].env : variable.name => variable.value } == jsondecode(file("tests/programs.json")).rights.variables
    error_message = "the desk must give rights on the registry and take no events, as tests/programs.json says, with which the host is tested"
  }

  assert {
    condition = (
      !azurerm_iothub.this[0].local_authentication_enabled && azurerm_iothub.this[0].min_tls_version == "1.2"
      && !azurerm_iothub.this[0].public_network_access_enabled
      && azurerm_iothub_endpoint_eventhub.verdicts[0].authentication_type == "identityBased"
      && endswith(azurerm_role_assignment.iot[0].scope, "/eventhubs/verdicts")
      && azurerm_role_assignment.operators["ann"].scope == azurerm_iothub.this[0].id
    )
    error_message = "IoT Hub must be closed, have no keys of its own, and send to the hub of verdicts alone, by identity"
  }
}

run "network" {
  variables {
    address_space = "10.60.0.0/16"
  }

  module {
    source = "./modules/network"
  }

  assert {
    condition = (
      azurerm_subnet.all["programs"].address_prefixes == tolist(["10.60.0.0/23"]) && azurerm_subnet.all["endpoints"].address_prefixes == tolist(["10.60.2.0/24"])
      && azurerm_subnet.all["programs"].delegation[0].service_delegation[0].name == "Microsoft.App/environments"
    )
    error_message = "programs and endpoints must have subnets of their own that do not overlap"
  }

  assert {
    condition = (
      azurerm_network_security_rule.endpoints_closed.access == "Deny" && azurerm_network_security_rule.endpoints_in.source_address_prefix == "VirtualNetwork"
      && azurerm_network_security_rule.endpoints_in.destination_port_ranges == toset(["443", "5671"])
      && length(azurerm_subnet_network_security_group_association.all) == 2
    )
    error_message = "endpoints must be reached from networks only, by HTTPS and AMQP over TLS"
  }
}

run "budget" {
  variables {
    name            = "twinge-test-budget"
    amount          = 100
    emails          = ["ops@example.com"]
    action_group_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Insights/actionGroups/people"
  }

  module {
    source = "./modules/budget"
  }

  assert {
    condition = (
      length(azurerm_consumption_budget_resource_group.this.notification) == 4
      && alltrue([for notification in azurerm_consumption_budget_resource_group.this.notification : notification.enabled && contains(notification.contact_emails, "ops@example.com")])
      && anytrue([for notification in azurerm_consumption_budget_resource_group.this.notification : notification.threshold_type == "Forecasted"])
    )
    error_message = "somebody must hear of cost that is there, and of cost that is to be expected"
  }
}

run "names" {
  variables {
    name            = "abcdefghij"
    environment     = "prod"
    subscription_id = "00000000-0000-0000-0000-000000000001"
    tags            = { owner = "ann", environment = "mine" }
  }

  module {
    source = "./modules/names"
  }

  assert {
    condition     = alltrue([for name in values(output.accounts) : length(name) <= 24 && can(regex("^[a-z0-9]+$", name))]) && length(output.unique) <= 24 && length("${output.base}-retrain-drift") <= 32
    error_message = "the longest name must fit storage accounts, the vault and jobs"
  }

  assert {
    condition     = tomap(output.tags) == tomap({ owner = "ann", application = "abcdefghij", environment = "prod", managed-by = "terraform" })
    error_message = "tags of one's own must come along, and not take the place of those made here"
  }
}
