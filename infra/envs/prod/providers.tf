terraform {
  required_version = ">= 1.9.0"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.55"
    }
  }

  # infra/bootstrap makes the account and prints what goes into backend.hcl. Nobody has a key to it: people
  # come by `az login`, pipelines by OIDC (ARM_USE_OIDC=true).
  backend "azurerm" {
    container_name   = "tfstate"
    key              = "prod.tfstate"
    use_azuread_auth = true
  }
}

# The subscription is that of ARM_SUBSCRIPTION_ID.
provider "azurerm" {
  storage_use_azuread             = true
  resource_provider_registrations = "core"
  resource_providers_to_register = [
    "Microsoft.AlertsManagement",
    "Microsoft.App",
    "Microsoft.Consumption",
    "Microsoft.ContainerRegistry",
    "Microsoft.Devices",
    "Microsoft.EventHub",
    "Microsoft.Insights",
    "Microsoft.KeyVault",
    "Microsoft.Logic",
    "Microsoft.MachineLearningServices",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.OperationalInsights",
    "Microsoft.Storage",
  ]

  features {
    # What somebody else put into the group keeps it from being taken away.
    resource_group {
      prevent_deletion_if_contains_resources = true
    }

    # Accounts are closed to where Terraform may run; they are made by Azure's own interface alone.
    storage {
      data_plane_available = false
    }

    template_deployment {
      delete_nested_items_during_deletion = true
    }
  }
}
