# The state of this itself is a local file: it makes the place where all other states go. Keep the file, or
# make it again with `terraform import`.
terraform {
  required_version = ">= 1.9.0"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.55"
    }
  }
}

# The subscription is that of ARM_SUBSCRIPTION_ID.
provider "azurerm" {
  storage_use_azuread = true

  features {}
}
